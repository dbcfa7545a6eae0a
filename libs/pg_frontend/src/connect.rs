//! Where a server is and as whom to come to it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use auth::{Credentials, Trust};
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::error::PgError;
use crate::wire::{MessageReader, MessageWriter};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    /// PostgreSQL names its socket `<directory>/.s.PGSQL.<port>`.
    Unix {
        directory: PathBuf,
        port: u16,
    },
}

impl Address {
    /// From `host:port`; an IPv6 host stands in brackets.
    pub fn parse(text: &str) -> Result<Address, PgError> {
        let bad = || PgError::BadAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(bad());
        }
        Ok(Address::Tcp { host: host.to_owned(), port: port.parse().map_err(|_| bad())? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix { directory, port } => write!(f, "{}/.s.PGSQL.{port}", directory.display()),
        }
    }
}

/// What a connection needs to know before its first byte.
#[derive(Clone)]
pub struct ConnectParams {
    pub address: Address,
    pub user: String,
    pub password: Option<String>,
    /// Whom it has to be that is connected to, over TLS. Without it, plain text. Never on a Unix socket.
    pub trust: Option<Trust>,
    pub database: Option<String>,
    pub application_name: Option<String>,
    /// Becomes the start-up parameter `options`: `-c name=value …`.
    pub options: Vec<(String, String)>,
    /// `true` for physical replication, `database` for logical; `None` for an ordinary session.
    pub replication: Option<&'static str>,
    /// For reaching the server and being let in, together.
    pub connect_timeout: Duration,
}

impl ConnectParams {
    pub fn new(address: Address, user: &str) -> Self {
        Self {
            address,
            user: user.to_owned(),
            password: None,
            trust: None,
            database: None,
            application_name: None,
            options: Vec::new(),
            replication: None,
            connect_timeout: Duration::from_secs(10),
        }
    }

    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// The token as the password; TLS, if they say whom to believe.
    pub fn credentials(mut self, credentials: &Credentials) -> Self {
        self.trust = credentials.trust().cloned();
        self.password(&credentials.token())
    }

    pub fn database(mut self, database: &str) -> Self {
        self.database = Some(database.to_owned());
        self
    }

    pub fn application_name(mut self, name: &str) -> Self {
        self.application_name = Some(name.to_owned());
        self
    }

    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn physical_replication(mut self) -> Self {
        self.replication = Some("true");
        self
    }

    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Name and value of every start-up parameter, in the order of sending.
    pub(crate) fn startup_parameters(&self) -> Vec<(&str, String)> {
        let mut parameters = vec![("user", self.user.clone()), ("client_encoding", "UTF8".to_owned())];
        let optional = [
            ("database", self.database.as_deref()),
            ("application_name", self.application_name.as_deref()),
            ("replication", self.replication),
        ];
        parameters.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))));
        if !self.options.is_empty() {
            parameters.push(("options", options_text(&self.options)));
        }
        parameters
    }

    pub(crate) async fn open(&self) -> Result<(MessageReader, MessageWriter), PgError> {
        let failed = |source| PgError::Connect { address: self.address.to_string(), source };
        Ok(match &self.address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                tcp::prepare(&stream)?;
                match &self.trust {
                    Some(trust) => self.open_tls(stream, trust, host).await?,
                    None => {
                        let (reader, writer) = stream.into_split();
                        (MessageReader::new(Box::new(reader)), MessageWriter::new(Box::new(writer)))
                    }
                }
            }
            Address::Unix { directory, port } => {
                let path = directory.join(format!(".s.PGSQL.{port}"));
                let (reader, writer) = UnixStream::connect(path).await.map_err(failed)?.into_split();
                (MessageReader::new(Box::new(reader)), MessageWriter::new(Box::new(writer)))
            }
        })
    }

    /// Asks for TLS, and takes no for no answer.
    async fn open_tls(
        &self,
        mut stream: TcpStream,
        trust: &Trust,
        host: &str,
    ) -> Result<(MessageReader, MessageWriter), PgError> {
        let failed = |reason: String| PgError::Tls { address: self.address.to_string(), reason };
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).await?;
        match stream.read_u8().await? {
            b'S' => {}
            b'N' => return Err(failed("it speaks no TLS: has it no certificate?".into())),
            other => return Err(failed(format!("it answers {:?} to a request for TLS", char::from(other)))),
        }
        let stream = trust.connect(host, stream, &[]).await.map_err(|error| failed(error.to_string()))?;
        let (reader, writer) = tokio::io::split(stream);
        Ok((MessageReader::new(Box::new(reader)), MessageWriter::new(Box::new(writer))))
    }
}

impl fmt::Debug for ConnectParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectParams")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "(hidden)"))
            .field("database", &self.database)
            .field("application_name", &self.application_name)
            .field("options", &self.options)
            .field("replication", &self.replication)
            .finish_non_exhaustive()
    }
}

/// PostgreSQL splits `options` at blanks, and takes a backslash as "the next character is itself".
fn options_text(options: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in options {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str("-c ");
        for character in format!("{name}={value}").chars() {
            if character.is_ascii_whitespace() || character == '\\' {
                text.push('\\');
            }
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(
            Address::parse("localhost:5454").unwrap(),
            Address::Tcp { host: "localhost".into(), port: 5454 }
        );
        assert_eq!(Address::parse("[::1]:80").unwrap().to_string(), "[::1]:80");
        for bad in ["", "localhost", ":80", "localhost:", "localhost:99999"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn options_are_escaped_as_postgres_reads_them() {
        let options = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "two words \\".to_owned())];
        assert_eq!(options_text(&options), "-c a=1 -c b=two\\ words\\ \\\\");
    }

    #[test]
    fn a_password_is_not_printed() {
        let params = ConnectParams::new(Address::parse("h:1").unwrap(), "u").password("secret");
        assert!(!format!("{params:?}").contains("secret"));
    }
}
