//! [`Connector`]: how a connection to the broker is made, over TLS where it is said whom to believe.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use auth::Trust;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::codegen::{Service, http::Uri};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

#[derive(Clone)]
pub(crate) struct Connector {
    pub trust: Option<Trust>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let trust = self.trust.clone();
        Box::pin(async move { connect(&uri, trust.as_ref()).await.map(TokioIo::new) })
    }
}

async fn connect(uri: &Uri, trust: Option<&Trust>) -> io::Result<Box<dyn Stream>> {
    let none = |what| io::Error::new(io::ErrorKind::InvalidInput, format!("no {what} in {uri}"));
    let host = uri.host().ok_or_else(|| none("host"))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = uri.port_u16().ok_or_else(|| none("port"))?;
    let stream = TcpStream::connect((host, port)).await?;
    tcp::prepare(&stream)?;
    Ok(match trust {
        Some(trust) => Box::new(trust.connect(host, stream, &["h2"]).await?),
        None => Box::new(stream),
    })
}
