//! What the pageserver's storage costs, beside the WAL that comes in and the data that is there: bytes written, bytes
//! kept, requests to object storage; and how fast it merges layers.

use harness::block_on;
use pageserver_api::PageserverClient;

use crate::arguments::Arguments;
use crate::get_page::{Configured, main_timeline, metric};
use crate::ingest::{CLIENTS, MEGABYTE, wait_for_pageserver};
use crate::pgbench::{self, Length, Workload};
use crate::report::{Finding, Measurement, Report};
use crate::sides::{Side, Sides};
use crate::transactions::insert_lsn;

/// Bytes of WAL that make a layer, for each second of a run: small, so that there are layers to merge after seconds.
const CHECKPOINT_DISTANCE: u64 = 256 << 10;

pub fn measure(sides: &Sides, arguments: &Arguments, report: &mut Report) {
    let distance = CHECKPOINT_DISTANCE * u64::from(arguments.seconds);
    wait_for_pageserver(sides, insert_lsn(sides, Side::Varve));
    let configured = Configured::new(sides, &format!("checkpoint_distance = {distance}"));
    let start = insert_lsn(sides, Side::Varve);
    let requests_before = requests(sides);
    let transactions = Length::Transactions(400 * arguments.seconds);
    pgbench::bench(&sides.connstr(Side::Varve), Workload::TpcB, CLIENTS, transactions);
    let end = insert_lsn(sides, Side::Varve);
    wait_for_pageserver(sides, end);
    let client =
        PageserverClient::new(&sides.cluster.http_address("pageserver"), sides.cluster.credentials());
    let main = main_timeline(sides);
    let info = block_on(async {
        client.checkpoint(main.tenant_id, main.timeline_id).await.expect("a checkpoint");
        client.compact(main.tenant_id, main.timeline_id).await.expect("compaction");
        client.checkpoint(main.tenant_id, main.timeline_id).await.expect("a checkpoint");
        client.timeline_with_size(main.tenant_id, main.timeline_id).await.expect("the timeline")
    });
    let [written, merged, seconds, jobs] = [
        "pageserver_storage_layer_written_bytes_total",
        "pageserver_storage_compaction_bytes_total",
        "pageserver_storage_compaction_seconds_sum",
        "pageserver_storage_compaction_seconds_count",
    ]
    .map(|name| metric(sides, name));
    let logical_size = info.current_logical_size.expect("a size, since it was asked for") as f64;
    let wal = (end - start) as f64;
    let megabytes = wal / MEGABYTE;
    let asked = requests(sides) - requests_before;
    let mut add = |name: &str, unit, varve, note| {
        let name = name.to_owned();
        report.add(Finding::Measured(Measurement { name, unit, varve, stock: None, note }));
    };
    let note = format!(
        "layers of {:.1} MB, {megabytes:.0} MB of WAL, {jobs} jobs of compaction",
        distance as f64 / MEGABYTE
    );
    add("storage-written-for-wal", "bytes a byte", written / wal, note);
    add(
        "storage-kept-for-data",
        "bytes a byte",
        info.current_physical_size as f64 / logical_size,
        format!("{:.0} MB of data, all history kept", logical_size / MEGABYTE),
    );
    add(
        "storage-compaction",
        "MB/s",
        merged / MEGABYTE / seconds,
        format!("{:.0} MB of layers read", merged / MEGABYTE),
    );
    add("storage-requests", "a GB of WAL", asked / (wal / 1e9), format!("{asked:.0}, safekeepers' included"));
    drop(configured);
}

/// To object storage, of all who use it.
fn requests(sides: &Sides) -> f64 {
    let of = |daemon: &str| {
        sides.cluster.metric_so_far(daemon, "remote_storage_requests_total").unwrap_or_default()
    };
    of("pageserver") + (1..=3).map(|id| of(&format!("safekeeper-{id}"))).sum::<f64>()
}
