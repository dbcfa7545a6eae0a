//! A client that has shown a token, as a handler sees it.

use std::collections::HashMap;
use std::net::SocketAddr;

use auth::{Identity, Need};
use tokio_util::sync::CancellationToken;

use crate::encryption::{Reader, Writer};
use crate::error::sqlstate;
use crate::startup::Startup;
use crate::{ConnectionError, CopyBoth, CopyWriter, QueryError};

/// How far the COPY of the current query is, so that the query loop can end what a handler left open.
#[derive(Debug, Default)]
pub(crate) struct CopyState {
    pub direction: Option<CopyDirection>,
    pub server_done: bool,
    pub client_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyDirection {
    Out,
    Both,
}

pub struct Session {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) copy: CopyState,
    /// The client said good-bye, or is gone.
    pub(crate) client_left: bool,
    /// The current query has been answered with CommandComplete.
    pub(crate) completed: bool,
    startup: Startup,
    identity: Identity,
    peer: SocketAddr,
    shutdown: CancellationToken,
}

impl Session {
    pub(crate) fn new(
        reader: Reader,
        writer: Writer,
        startup: Startup,
        identity: Identity,
        peer: SocketAddr,
        shutdown: CancellationToken,
    ) -> Self {
        let copy = CopyState::default();
        Self { reader, writer, copy, client_left: false, completed: false, startup, identity, peer, shutdown }
    }

    /// `user`, `database`, `application_name`, `replication`, … as the client sent them.
    pub fn startup_parameters(&self) -> &HashMap<String, String> {
        &self.startup.parameters
    }

    /// A setting that the client gave by `options='-c name=value'`.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.startup.settings.get(name).map(String::as_str)
    }

    /// Whether the token that the client has shown opens what is needed.
    pub fn check(&self, need: Need) -> Result<(), QueryError> {
        self.identity
            .check(need)
            .map_err(|refusal| QueryError::new(sqlstate::INSUFFICIENT_PRIVILEGE, refusal.to_string()))
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Cancelled when the server stops. A handler that streams should then end soon; after
    /// [`Limits::shutdown_grace`](crate::Limits::shutdown_grace) it is dropped where it stands.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Starts a result of text columns.
    pub fn send_row_description(&mut self, columns: &[&str]) {
        self.writer.row_description(columns);
    }

    pub async fn send_data_row(&mut self, values: &[Option<&str>]) -> Result<(), ConnectionError> {
        self.writer.data_row(values);
        self.writer.flush_if_large().await
    }

    /// Ends the answer to a query, with PostgreSQL's command tag (`SELECT 1`).
    pub fn send_command_complete(&mut self, tag: &str) {
        self.writer.command_complete(tag);
        self.completed = true;
    }

    /// A whole result of one row.
    pub fn send_single_row(&mut self, columns: &[&str], values: &[Option<&str>], tag: &str) {
        self.writer.row_description(columns);
        self.writer.data_row(values);
        self.send_command_complete(tag);
    }

    /// Starts COPY OUT. What the handler does not finish, the query loop does.
    pub async fn copy_out(&mut self) -> Result<CopyWriter<'_>, ConnectionError> {
        self.writer.copy_out_response();
        self.writer.flush().await?;
        self.copy = CopyState { direction: Some(CopyDirection::Out), ..CopyState::default() };
        Ok(CopyBoth::of(self).split().1)
    }

    /// Starts COPY BOTH. When the handler returns, the query loop sends CopyDone if it is still due, waits
    /// for the client's, and ends the command.
    pub async fn copy_both(&mut self) -> Result<CopyBoth<'_>, ConnectionError> {
        self.writer.copy_both_response();
        self.writer.flush().await?;
        self.copy = CopyState { direction: Some(CopyDirection::Both), ..CopyState::default() };
        Ok(CopyBoth::of(self))
    }
}
