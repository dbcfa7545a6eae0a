//! The page service: pages and base backups over PostgreSQL's protocol.
//!
//! ```text
//! command.rs  the text of a query (pure)
//! stream.rs   pagestream_v3: requests in, answers out in their order
//! answer.rs   one request
//! lsn.rs      which LSN a request reads at (pure)
//! backup.rs   basebackup, fullbackup
//! slow.rs     reads that take long, told with their plans
//! spans.rs    what traces say of requests
//! error.rs    SQLSTATEs
//! ```

mod answer;
mod backup;
mod command;
mod error;
mod lsn;
mod metrics;
mod slow;
mod spans;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use auth::{Need, Scope};
use pageserver_api::TRACES_PARAMETER;
use pg_backend::{Handler, QueryError, Session, sqlstate};
use tracing::Instrument;
use types::TenantTimelineId;

use crate::pages::PageReader;
use crate::storage::{StorageError, TenantManager, Timeline};
use command::Command;
pub use metrics::PageServiceMetrics;
pub use slow::SlowReads;

pub struct PageService {
    pub manager: Arc<TenantManager>,
    pub pages: PageReader,
    pub metrics: PageServiceMetrics,
    pub wait_lsn_timeout: Duration,
    pub lease_length: Duration,
    pub requests_in_flight: usize,
    pub slow_reads: SlowReads,
}

impl Handler for PageService {
    const PARAMETERS: &'static [(&'static str, &'static str)] = &[(TRACES_PARAMETER, "on")];

    async fn handle_query(&self, session: &mut Session, query: &str) -> Result<(), QueryError> {
        match command::parse(query).map_err(|reason| QueryError::new(sqlstate::SYNTAX_ERROR, reason))? {
            Command::PageStream(id) => {
                let timeline = self.timeline(session, id)?;
                tracing::debug!(timeline = %id, peer = %session.peer(), "page stream begins");
                stream::serve(self, &timeline, session).await
            }
            Command::Backup(id, request) => {
                let timeline = self.timeline(session, id)?;
                if self.manager.is_archived(id) {
                    return Err(error::query_error(&StorageError::Archived(id).into()));
                }
                let span = spans::of_backup(id, &request);
                backup::serve(self, &timeline, request, session).instrument(span).await
            }
            Command::Lease(id, lsn, reach) => {
                let timeline = self.timeline(session, id)?;
                let refused = |error: StorageError| error::query_error(&error.into());
                timeline.lease_lsn(lsn, reach, self.lease_length).map_err(refused)?;
                tracing::debug!(timeline = %id, %lsn, peer = %session.peer(), "leased an LSN");
                session.send_row_description(&["seconds"]);
                session.send_data_row(&[Some(&self.lease_length.as_secs().to_string())]).await?;
                session.send_command_complete("LEASE");
                Ok(())
            }
            Command::Set => {
                session.send_command_complete("SET");
                Ok(())
            }
        }
    }
}

impl PageService {
    fn timeline(&self, session: &Session, id: TenantTimelineId) -> Result<Arc<Timeline>, QueryError> {
        // Before it is looked for: who may not know of it does not learn whether it exists.
        session.check(Need::Data { tenant: id.tenant_id, part: Scope::Pageserver })?;
        self.manager.get_timeline(id).map_err(|error| error::query_error(&error.into()))
    }
}
