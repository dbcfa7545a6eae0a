//! The connection to one safekeeper, made again for ever. Messages pass; nothing is decided here.

use std::time::Duration;

use consensus::{Member, ProposerMessage};
use pg_frontend::{Address, CopyReader, CopyWriter, PgClient};
use safekeeper_api::replication::connect_params;
use safekeeper_api::wire::{
    SafekeeperMessage, decode_safekeeper_message, encode_proposer_message, start_wal_push,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::owner::Input;
use super::{NAME, Reach};

const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// It answers every second when it is well (the owner's tick); an fsync may take its time.
const SILENCE: Duration = Duration::from_secs(15);

pub struct Link {
    pub member: Member,
    pub address: Address,
    pub reach: Reach,
    pub inputs: mpsc::Sender<Input>,
    /// Set when what was sent is to be delivered and no new connection made.
    pub closing: CancellationToken,
}

impl Link {
    pub async fn run(self) {
        let node = self.member.id;
        let mut back_off = FIRST_BACK_OFF;
        while !self.closing.is_cancelled() {
            let began = tokio::time::Instant::now();
            let reason = match self.session().await {
                Ok(()) => "closed by the walproposer".to_owned(),
                Err(reason) => reason,
            };
            if self.inputs.send(Input::Unlinked { node, reason }).await.is_err() {
                return;
            }
            if began.elapsed() > LONGEST_BACK_OFF {
                back_off = FIRST_BACK_OFF;
            }
            // Several computes or links do not come back in step.
            tokio::time::sleep(back_off.mul_f64(rand::random_range(0.5..1.0))).await;
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }

    async fn session(&self) -> Result<(), String> {
        let params = connect_params(self.address.clone(), self.reach.ttid, &self.reach.credentials, NAME)
            .connect_timeout(CONNECT_TIMEOUT);
        let client = PgClient::connect(&params).await.map_err(|error| error.to_string())?;
        let copy = client.copy_both(&start_wal_push()).await.map_err(|error| error.to_string())?;
        if self.closing.is_cancelled() {
            return Ok(());
        }
        let (reader, writer) = copy.split();
        // Not bounded here: the proposer sends no more than its in-flight limit ahead.
        let (messages, outgoing) = mpsc::unbounded_channel();
        let node = self.member.id;
        self.inputs
            .send(Input::Linked { node, messages })
            .await
            .map_err(|_| "the walproposer ended".to_owned())?;
        tokio::select! {
            sent = send(writer, outgoing) => sent,
            heard = self.hear(reader) => heard,
        }
    }

    async fn hear(&self, mut reader: CopyReader) -> Result<(), String> {
        let node = self.member.id;
        loop {
            let bytes = match tokio::time::timeout(SILENCE, reader.next()).await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => return Err("the safekeeper ended the session".to_owned()),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err(format!("silent for {} s", SILENCE.as_secs())),
            };
            let input = match decode_safekeeper_message(bytes).map_err(|error| error.to_string())? {
                SafekeeperMessage::Acceptor(message) => Input::Heard { node, message },
                SafekeeperMessage::StandbyFeedback(feedback) => Input::StandbysNeed { node, feedback },
            };
            if self.inputs.send(input).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Returns when the owner has closed its end and all is sent.
async fn send(
    mut writer: CopyWriter,
    mut outgoing: mpsc::UnboundedReceiver<ProposerMessage>,
) -> Result<(), String> {
    while let Some(message) = outgoing.recv().await {
        writer.feed(&encode_proposer_message(&message)).await.map_err(|error| error.to_string())?;
        while let Ok(message) = outgoing.try_recv() {
            writer.feed(&encode_proposer_message(&message)).await.map_err(|error| error.to_string())?;
        }
        writer.flush().await.map_err(|error| error.to_string())?;
    }
    writer.finish().await.map_err(|error| error.to_string())
}
