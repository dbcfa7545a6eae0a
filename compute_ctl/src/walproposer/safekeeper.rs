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
/// For its word that it takes WAL. A timeline that was at rest may have to come out of object storage, which goes on there
/// when nobody waits any more; a host that is gone says nothing, for ever.
pub const ADMISSION: Duration = Duration::from_secs(15);
/// It answers every second when it is well (the owner's tick); an fsync may take its time.
const SILENCE: Duration = Duration::from_secs(15);

pub struct Link {
    pub member: Member,
    pub address: Address,
    pub reach: Reach,
    pub admission: Duration,
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
        let command = start_wal_push();
        let copy = match tokio::time::timeout(self.admission, client.copy_both(&command)).await {
            Ok(admitted) => admitted.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("no answer for {} s", self.admission.as_secs())),
        };
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

#[cfg(test)]
mod tests {
    use auth::{Claims, Scope, SigningKey};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use types::{NodeId, TenantId, TenantTimelineId, TimelineId};

    use super::*;

    /// Lets in, and hears what is wanted.
    async fn let_in(listener: &TcpListener) -> TcpStream {
        let (mut server, _) = listener.accept().await.unwrap();
        hear(&mut server).await;
        server.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'Q');
        hear(&mut server).await;
        server
    }

    async fn hear(server: &mut TcpStream) {
        let length = server.read_u32().await.unwrap() as usize;
        server.read_exact(&mut vec![0; length - 4]).await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_answer_is_connected_to_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pg_connstr = listener.local_addr().unwrap().to_string();
        let (inputs, mut heard) = mpsc::channel(8);
        let link = Link {
            address: Address::parse(&pg_connstr).unwrap(),
            member: Member { id: NodeId(1), pg_connstr, http_connstr: String::new() },
            reach: Reach {
                ttid: TenantTimelineId::new(TenantId([1; 16]), TimelineId([2; 16])),
                credentials: SigningKey::generate().credentials(&Claims::new([Scope::Tenant])).unwrap(),
            },
            admission: Duration::from_millis(100),
            inputs,
            closing: CancellationToken::new(),
        };
        let link = tokio::spawn(link.run());
        let silent = async {
            let _first = let_in(&listener).await;
            match heard.recv().await {
                Some(Input::Unlinked { node: NodeId(1), reason }) => assert_eq!(reason, "no answer for 0 s"),
                _ => panic!("it waits, or was let in"),
            }
            // And the next one lets it through.
            let mut second = let_in(&listener).await;
            second.write_all(b"W\0\0\0\x07\0\0\0").await.unwrap();
            assert!(matches!(heard.recv().await, Some(Input::Linked { node: NodeId(1), .. })));
        };
        tokio::time::timeout(Duration::from_secs(20), silent).await.expect("it is not connected to again");
        link.abort();
    }
}
