//! A connection in clear or under TLS.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Where a session's bytes come from and go to.
#[derive(Debug)]
pub(crate) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Appends what has arrived, within the room that the buffer has.
    pub(crate) async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Stream::Clear(stream) => stream.read_buf(buffer).await,
            Stream::Tls(stream) => stream.read_buf(buffer).await,
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Clear(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Shakes hands as the server.
    pub(crate) async fn start_tls(self, config: Arc<rustls::ServerConfig>) -> io::Result<Stream> {
        match self {
            Stream::Clear(stream) => {
                let stream = TlsAcceptor::from(config).accept(stream).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
            Stream::Tls(_) => Err(io::Error::other("TLS is already active")),
        }
    }

    /// Says goodbye: under TLS with its own alert, so that the client can tell the end from an attack.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        match self {
            Stream::Clear(stream) => stream.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
        }
    }
}
