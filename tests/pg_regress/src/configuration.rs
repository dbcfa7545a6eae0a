//! The sizes with which the suites are run.

/// On both servers, whatever else they have.
pub const SETTINGS: [&str; 3] = [
    // Or where a scan begins depends on where the last one was.
    "synchronize_seqscans=off",
    "max_prepared_transactions=100",
    // An endpoint has at least as many.
    "max_replication_slots=10",
];
/// What an endpoint has beside them: its pages are compared with what was evicted, and it says what its cache does.
const WATCHED: [&str; 3] = ["varve.log_cache_interval=1", "varve.debug=on", "varve.test_shadow=on"];

/// Layers are so small and history so short that the suite's pages come from merged layers and images, beside which
/// garbage is collected all the time.
const SMALL_LAYERS: &str = "checkpoint_distance = 1048576\n\
                            storage.compaction_target_size = 1048576\nstorage.image_layer_size = 2097152\n\
                            tenant_config.pitr_interval = \"0s\"\ntenant_config.gc_horizon = 1048576\n\
                            tenant_config.gc_period = \"1s\"\ntenant_config.lsn_lease_length = \"0s\"";

pub struct Configuration {
    pub name: &'static str,
    /// No two tests at the same time.
    pub is_serial: bool,
    settings: &'static [&'static str],
    cache: &'static [&'static str],
    pub pageserver: &'static str,
}

pub const SERIAL: Configuration = Configuration {
    name: "serial",
    is_serial: true,
    // 128 buffers: pages are written out and read again all the time.
    settings: &["shared_buffers=1MB"],
    cache: &["varve.cache_size=4MB"],
    pageserver: SMALL_LAYERS,
};

pub const ALL: [Configuration; 3] = [
    SERIAL,
    Configuration {
        name: "parallel",
        is_serial: false,
        // With 1 MB there would be no buffer left for one of twenty sessions.
        settings: &["shared_buffers=8MB"],
        cache: &["varve.cache_size=8MB"],
        pageserver: SMALL_LAYERS,
    },
    Configuration { name: "default", is_serial: false, settings: &[], cache: &[], pageserver: "" },
];

impl Configuration {
    /// Of a stock server, which is the measure. Ours come last and win.
    pub fn of_stock<'a>(&'a self, of_group: &'a [String]) -> Vec<&'a str> {
        let of_group = of_group.iter().map(String::as_str);
        of_group.chain(self.settings.iter().copied()).chain(SETTINGS).collect()
    }

    pub fn of_endpoint<'a>(&'a self, of_group: &'a [String]) -> Vec<&'a str> {
        [self.of_stock(of_group), self.cache.to_vec(), WATCHED.to_vec()].concat()
    }
}
