//! A connection whose client watches: from now on it is only written to.

use super::Connection;
use crate::clients::State;
use crate::instance::Phase;
use crate::watch::Watcher;
use larder_protocol::{AdminReject, Reply, Streams};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is read of a client that has nothing to say any more, at a time, in bytes.
const SCRAP_LEN: usize = 256;

impl Connection {
    /// Shows the client what happens until it has gone or the server is to end; false where it may not watch, and goes
    /// on as before.
    pub(super) async fn watch(&mut self, streams: Streams) -> io::Result<bool> {
        let instance = Arc::clone(&self.instance);
        let Some(watcher) = Watcher::enter(&instance.watchers, streams) else {
            return self.refuse_watch(AdminReject::TooManyWatchers).await;
        };
        if !self.guest.hold_replies(instance.watchers.held_len()) {
            return self.refuse_watch(AdminReject::WatcherFailed).await;
        }
        self.input = Vec::new();
        self.guest.hold_input(0);
        self.guest.set_state(State::Watch);
        let mut phase = instance.phase.subscribe();
        let counters = &instance.counters[self.worker as usize];
        let (mut reader, mut writer) = self.stream.split();
        let gone = async {
            let mut scrap = [0; SCRAP_LEN];
            while reader.read(&mut scrap).await? > 0 {}
            io::Result::Ok(())
        };
        let shown = async {
            let mut text = Reply::Ok.line().to_vec();
            loop {
                writer.write_all(&text).await?;
                counters.bytes_written.add(text.len() as u64);
                watcher.next(&mut text).await;
            }
            #[expect(unreachable_code, reason = "it says what the block ends with")]
            io::Result::<Infallible>::Ok(unreachable!())
        };
        tokio::select! {
            ended = gone => ended?,
            ended = shown => match ended? {},
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
        }
        Ok(true)
    }

    async fn refuse_watch(&mut self, reject: AdminReject) -> io::Result<bool> {
        self.stream.write_all(reject.line()).await?;
        self.counters().bytes_written.add(reject.line().len() as u64);
        Ok(false)
    }
}
