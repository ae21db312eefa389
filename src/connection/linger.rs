//! How a connection ends whose client may still be sending.

use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How much is read, and for how long, from a client that was told that it is over.
const LINGER_LEN_MAX: usize = 1 << 20;
const LINGER_READ_LEN: usize = 16 * 1024;
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// Closes our side and waits a little for the client's: closing with unread bytes would take the last
/// reply away from a client that is still sending.
pub async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let drain = async {
        let mut scrap = BytesMut::with_capacity(LINGER_READ_LEN);
        let mut drained_len = 0;
        while drained_len < LINGER_LEN_MAX {
            scrap.clear();
            match stream.read_buf(&mut scrap).await? {
                0 => break,
                len => drained_len += len,
            }
        }
        Ok(())
    };
    tokio::time::timeout(LINGER_TIME_MAX, drain).await.unwrap_or(Ok(()))
}
