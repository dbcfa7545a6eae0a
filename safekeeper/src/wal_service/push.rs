//! `START_WAL_PUSH`: a proposer's connection. Messages go to the timeline's owner, replies come back.

use std::sync::Arc;

use auth::{Need, Scope};
use consensus::ProposerMessage;
use pg_backend::{CopyReader, CopyWriter, QueryError, Session, sqlstate};
use safekeeper_api::standby_feedback::StandbyFeedback;
use safekeeper_api::wire;
use tokio::sync::{mpsc, watch};

use crate::timeline::{Manager, PushConnection, PushReply, Timeline};
use crate::wal_service::{configurations, errors};

pub async fn receive_wal(
    manager: &Manager,
    timeline: Arc<Timeline>,
    session: &mut Session,
    proto_version: u32,
    standby_feedback: bool,
) -> Result<(), QueryError> {
    if proto_version != u32::from(wire::PROTOCOL_VERSION) {
        let message =
            format!("protocol version {proto_version} is not spoken here, {} is", wire::PROTOCOL_VERSION);
        return Err(QueryError::new(sqlstate::FEATURE_NOT_SUPPORTED, message));
    }
    let peer = session.peer();
    // Whoever may tell this safekeeper what to do may tell it of a configuration, too.
    let is_trusted = session.check(Need::Part(Scope::Safekeeper)).is_ok();
    let doubting = (!is_trusted).then_some(manager);
    let shutdown = session.shutdown().clone();
    let (mut reader, mut writer) = session.copy_both().await?.split();
    let (connection, mut replies) = timeline.connect_proposer(peer).await.map_err(errors::stopped)?;
    tracing::info!(timeline = %timeline.ttid(), %peer, "proposer comes");
    let feedback = standby_feedback.then(|| timeline.standbys().watch());
    let outcome = tokio::select! {
        outcome = receive(&timeline, doubting, &connection, &mut reader) => outcome,
        outcome = reply(&timeline, &mut replies, feedback, &mut writer) => outcome,
        () = shutdown.cancelled() => Err(errors::timeline_stopped(timeline.ttid())),
    };
    tracing::info!(timeline = %timeline.ttid(), %peer, "proposer leaves");
    outcome
}

async fn receive(
    timeline: &Timeline,
    doubting: Option<&Manager>,
    connection: &PushConnection,
    reader: &mut CopyReader<'_>,
) -> Result<(), QueryError> {
    while let Some(bytes) = reader.next().await? {
        let message = wire::decode_proposer_message(bytes)
            .map_err(|error| QueryError::fatal(sqlstate::PROTOCOL_VIOLATION, error.to_string()))?;
        if let (ProposerMessage::Greeting(greeting), Some(manager)) = (&message, doubting) {
            configurations::check(manager, timeline, &greeting.configuration).await?;
        }
        connection.send(message).await.map_err(errors::stopped)?;
    }
    Ok(())
}

async fn reply(
    timeline: &Timeline,
    replies: &mut mpsc::Receiver<PushReply>,
    mut feedback: Option<watch::Receiver<StandbyFeedback>>,
    writer: &mut CopyWriter<'_>,
) -> Result<(), QueryError> {
    loop {
        let next = tokio::select! {
            next = replies.recv() => next,
            feedback = next_feedback(&mut feedback) => {
                writer.send(wire::encode_standby_feedback(feedback)).await?;
                writer.flush().await?;
                continue;
            }
        };
        match next {
            Some(PushReply::Message(message)) => {
                writer.send(wire::encode_acceptor_message(&message)).await?;
                // Several may be waiting; they leave together.
                if replies.is_empty() {
                    writer.flush().await?;
                }
            }
            Some(PushReply::End(reason)) => {
                return Err(QueryError::fatal(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, reason));
            }
            None => return Err(errors::timeline_stopped(timeline.ttid())),
        }
    }
}

/// What standbys need, at the beginning and whenever it changes; for who did not ask, nothing, for ever.
async fn next_feedback(feedback: &mut Option<watch::Receiver<StandbyFeedback>>) -> StandbyFeedback {
    if let Some(feedback) = feedback
        && feedback.changed().await.is_ok()
    {
        return *feedback.borrow_and_update();
    }
    // Nobody asked, or the timeline has gone: then the replies say so.
    std::future::pending().await
}
