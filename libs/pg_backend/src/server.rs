//! Accepting, counting and ending connections, and the loop of queries on each.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::{Certificate, Identity, Verifier};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::encryption::{Reader, Writer, agree};
use crate::error::{Severity, sqlstate};
use crate::reader::FrontendMessage;
use crate::session::{CopyDirection, CopyState};
use crate::startup::{self, Startup};
use crate::{ConnectionError, CopyBoth, QueryError, Session};

/// What a daemon does with the queries of its clients. One value serves all connections.
pub trait Handler: Send + Sync + 'static {
    /// Names and values that clients are told at the start, beside PostgreSQL's own (ParameterStatus): what this service
    /// can do that not every one of its kind could.
    const PARAMETERS: &'static [(&'static str, &'static str)] = &[];

    /// Called once, after the token was shown and before the first query.
    fn startup(&self, session: &mut Session) -> impl Future<Output = Result<(), QueryError>> + Send {
        let _ = session;
        async { Ok(()) }
    }

    /// Answers one simple query through the session. A result that is not ended by
    /// [`Session::send_command_complete`] is ended by the caller. The future may be dropped at any await
    /// when the server stops.
    fn handle_query(
        &self,
        session: &mut Session,
        query: &str,
    ) -> impl Future<Output = Result<(), QueryError>> + Send;
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest message of a client that has shown the token.
    pub max_message_bytes: usize,
    /// From accepting a connection to the client having shown the token.
    pub startup_timeout: Duration,
    pub max_connections: usize,
    /// What handlers get to end by themselves when the server stops.
    pub shutdown_grace: Duration,
    /// Reported as `server_version`. Its major number decides what stock tools are willing to talk to us:
    /// they refuse a server newer than themselves.
    pub server_version: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 << 20,
            startup_timeout: Duration::from_secs(10),
            max_connections: 1000,
            shutdown_grace: Duration::from_secs(2),
            server_version: "15.0 (Varve)".to_owned(),
        }
    }
}

/// Clients over the limit who are told so at the same time; those beyond are just disconnected.
const MOST_REFUSALS_AT_ONCE: usize = 32;
/// Pause after accept failed (out of file descriptors, say), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is cancelled and all connections have ended. With a certificate it speaks TLS, and nothing else.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    certificate: Option<Certificate>,
    verifier: Verifier,
    handler: Arc<H>,
    shutdown: CancellationToken,
    limits: Limits,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let refusals = Arc::new(Semaphore::new(MOST_REFUSALS_AT_ONCE));
    let server = Arc::new(Server { certificate, verifier, handler, shutdown: shutdown.clone(), limits });
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let server = server.clone();
        let span = info_span!("connection", %peer);
        if let Ok(place) = places.clone().try_acquire_owned() {
            connections.spawn(server.connection(stream, peer, place).instrument(span));
        } else if let Ok(place) = refusals.clone().try_acquire_owned() {
            connections.spawn(server.refuse(stream, place).instrument(span));
        }
    }
    connections.close();
    connections.wait().await;
}

struct Server<H> {
    certificate: Option<Certificate>,
    verifier: Verifier,
    handler: Arc<H>,
    shutdown: CancellationToken,
    limits: Limits,
}

impl<H: Handler> Server<H> {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
        let end = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(self.limits.shutdown_grace).await;
        };
        tokio::select! {
            () = Box::pin(self.talk(stream, peer)) => {}
            () = end => debug!("connection dropped at shutdown"),
        }
    }

    async fn open(&self, stream: TcpStream) -> Result<Option<(Reader, Writer)>, ConnectionError> {
        if let Err(error) = tcp::prepare(&stream) {
            debug!(%error, "cannot set up a connection");
        }
        agree(stream, self.certificate.as_ref()).await
    }

    async fn talk(&self, stream: TcpStream, peer: SocketAddr) {
        let deadline = Instant::now() + self.limits.startup_timeout;
        let (mut reader, mut writer) = match timeout_at(deadline, self.open(stream)).await {
            Ok(Ok(Some(halves))) => halves,
            Ok(Ok(None)) => return,
            // In which language would it be told?
            Ok(Err(error)) => return info!(%error, "connection refused"),
            Err(_) => return info!("client did not finish its TLS handshake in time"),
        };
        let startup = timeout_at(deadline, self.greet(&mut reader, &mut writer)).await;
        let (startup, identity) = match startup {
            Ok(Ok(Some(known))) => known,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                info!(%error, "connection refused");
                return send_last_words(&mut writer, &error).await;
            }
            Err(_) => {
                info!("client did not finish its start-up in time");
                let error = QueryError::fatal(sqlstate::PROTOCOL_VIOLATION, "start-up took too long");
                return send_last_words(&mut writer, &error).await;
            }
        };
        reader.limit = self.limits.max_message_bytes;
        let mut session = Session::new(reader, writer, startup, identity, peer, self.shutdown.clone());
        if let Err(error) = self.answer_queries(&mut session).await {
            debug!(%error, "connection ends");
            send_last_words(&mut session.writer, &error).await;
        }
    }

    /// None when the client left.
    async fn greet(
        &self,
        reader: &mut Reader,
        writer: &mut Writer,
    ) -> Result<Option<(Startup, Identity)>, QueryError> {
        let Some(startup) = startup::read_startup(reader, writer).await? else { return Ok(None) };
        let verifier = &self.verifier;
        let Some(identity) = startup::authenticate(reader, writer, &startup, verifier).await? else {
            return Ok(None);
        };
        writer.authentication_ok();
        let of_postgresql = [
            ("server_version", self.limits.server_version.as_str()),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, MDY"),
            ("integer_datetimes", "on"),
            ("standard_conforming_strings", "on"),
        ];
        for (name, value) in of_postgresql.into_iter().chain(H::PARAMETERS.iter().copied()) {
            writer.parameter_status(name, value);
        }
        Ok(Some((startup, identity)))
    }

    /// Ok when the client said good-bye; an error is for its eyes.
    async fn answer_queries(&self, session: &mut Session) -> Result<(), QueryError> {
        self.handler
            .startup(session)
            .await
            .map_err(|error| QueryError { severity: Severity::Fatal, ..error })?;
        let mut ready = true;
        while !session.client_left {
            if ready {
                session.writer.ready_for_query();
                session.writer.flush().await?;
            }
            let message = tokio::select! {
                message = session.reader.next() => message?,
                () = self.shutdown.cancelled() => {
                    return Err(QueryError::fatal(sqlstate::ADMIN_SHUTDOWN, "the server is shutting down"));
                }
            };
            ready = match message {
                Some(FrontendMessage::Query(query)) => {
                    self.answer(session, &query).await?;
                    true
                }
                Some(FrontendMessage::Sync) => true,
                Some(FrontendMessage::Unsupported(tag)) => {
                    refuse_extended(session, tag).await?;
                    true
                }
                // What a client still sends for a COPY that ended with an error.
                Some(
                    FrontendMessage::CopyData(_) | FrontendMessage::CopyDone | FrontendMessage::CopyFail(_),
                ) => false,
                Some(FrontendMessage::Password(_)) => {
                    return Err(ConnectionError::Protocol("a password was not asked for".into()).into());
                }
                None | Some(FrontendMessage::Terminate) => return Ok(()),
            };
        }
        Ok(())
    }

    async fn answer(&self, session: &mut Session, query: &str) -> Result<(), QueryError> {
        session.copy = CopyState::default();
        session.completed = false;
        if query.trim_matches(|c: char| c.is_ascii_whitespace() || c == ';').is_empty() {
            session.writer.empty_query();
            return Ok(());
        }
        match self.handler.handle_query(session, query).await {
            Ok(()) => end_query(session).await,
            Err(error) if error.severity == Severity::Error => {
                info!(%error, "query refused");
                session.writer.error_response(&error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Tells a client over the limit so, if it is quick to listen.
    async fn refuse(self: Arc<Self>, stream: TcpStream, _place: OwnedSemaphorePermit) {
        let most = self.limits.max_connections;
        let refusal = async {
            let Ok(Some((mut reader, mut writer))) = self.open(stream).await else { return };
            if let Ok(Some(_)) = startup::read_startup(&mut reader, &mut writer).await {
                let message = format!("too many connections: the limit is {most}");
                let error = QueryError::fatal(sqlstate::TOO_MANY_CONNECTIONS, message);
                send_last_words(&mut writer, &error).await;
            }
        };
        warn!(most, "connection refused: too many");
        if tokio::time::timeout(Duration::from_secs(1), refusal).await.is_err() {
            debug!("a client over the limit was too slow to be told");
        }
    }
}

/// Ends what the handler left open: its COPY, its command.
async fn end_query(session: &mut Session) -> Result<(), QueryError> {
    if let Some(direction) = session.copy.direction {
        if !session.copy.server_done {
            CopyBoth::of(session).split().1.finish().await?;
        }
        if direction == CopyDirection::Both {
            let (mut reader, _) = CopyBoth::of(session).split();
            while reader.next().await?.is_some() {}
        }
    }
    if !session.completed {
        session.send_command_complete(if session.copy.direction.is_some() { "COPY" } else { "OK" });
    }
    Ok(())
}

/// Refuses a run of extended-protocol messages as a whole: after an error they are skipped up to Sync.
async fn refuse_extended(session: &mut Session, tag: u8) -> Result<(), QueryError> {
    let message = "only the simple query protocol is supported here";
    let error = QueryError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
        .with_detail(format!("message type {:?} belongs to the extended query protocol", char::from(tag)));
    session.writer.error_response(&error);
    session.writer.flush().await?;
    // A function call is not followed by Sync.
    if tag == b'F' {
        return Ok(());
    }
    loop {
        match session.reader.next().await? {
            Some(FrontendMessage::Sync) => break,
            None | Some(FrontendMessage::Terminate) => {
                session.client_left = true;
                break;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The client may be gone: then nobody is there to be told.
async fn send_last_words(writer: &mut Writer, error: &QueryError) {
    writer.error_response(error);
    if let Err(error) = writer.flush().await {
        debug!(%error, "the client did not hear why its connection ended");
    }
}
