//! Connections for requests: hyper's client asks here for a stream to a URI.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::body::BoxError;
use crate::dial::Dialer;
use crate::host::{Authority, Host};
use crate::policy::Scheme;
use crate::stream::Stream;

/// Makes connections for hyper's client.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) tls: Arc<ClientConfig>,
}

/// A connection, and which HTTP it speaks.
pub(crate) struct Line {
    stream: TokioIo<Box<dyn Stream>>,
    is_h2: bool,
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.is_h2 { connected.negotiated_h2() } else { connected }
    }
}

impl hyper::rt::Read for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Line;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Line, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.connect(&uri).await })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> Result<Line, BoxError> {
        let scheme = if uri.scheme_str() == Some("http") { Scheme::Http } else { Scheme::Https };
        let text = uri.authority().map_or("", hyper::http::uri::Authority::as_str);
        let authority = Authority::parse(text, Some(scheme.port()))?;
        let stream = self.dialer.dial(&authority).await?;
        if scheme == Scheme::Http {
            return Ok(Line { stream: TokioIo::new(Box::new(stream)), is_h2: false });
        }
        let name = match &authority.host {
            Host::Name(name) => ServerName::try_from(name.clone())?,
            Host::Ip(address) => ServerName::from(*address),
        };
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Line { stream: TokioIo::new(Box::new(stream)), is_h2 })
    }
}
