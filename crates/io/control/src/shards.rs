//! Starting one shard: its thread, its ring, and the queues between it and the control executor.
//!
//! Owns the order of that hand-shake; leaves the shard's life to the data plane. Invariant: when [`start`] returns, the
//! shard's ring exists and commands wake it.

use std::sync::Arc;
use std::sync::mpsc;

use tidegate_log::Writer;
use tidegate_proxy::{Context, ListenerSpec, Snapshot};
use tidegate_ring::{Settings, Wakeup};
use tidegate_shard::{Shard, queue, spawn};

use crate::link::ShardLink;
use crate::runtime::StartError;

/// Commands waiting for one shard: a configuration, the orders to drain and to stop, and one more. What finds no room is
/// held by the link, where a newer configuration replaces an older one: a shard that was slow has few old ones to go
/// through.
const COMMANDS_QUEUED_MAX: usize = 4;

/// Reports waiting for the control executor; beyond it log lines are dropped and counted.
const REPORTS_QUEUED_MAX: usize = 4096;

/// What a shard waits for before it serves: that the process has the rights that it is to have. Dropping it ends the shard.
pub(crate) struct Go(mpsc::Sender<()>);

impl Go {
    /// Lets the shard serve.
    pub(crate) fn go(self) {
        // A shard that is gone is found by whoever waits for its reports.
        let _ = self.0.send(());
    }
}

/// Starts shard `index` on `cpu`; it serves once it is told to.
pub(crate) fn start(
    index: usize,
    cpu: usize,
    snapshot: Arc<Snapshot>,
    listeners: Vec<ListenerSpec>,
    control: Wakeup,
    log: Writer,
) -> Result<(ShardLink, Go), StartError> {
    let (mut commands, for_shard) = queue(COMMANDS_QUEUED_MAX);
    let (mut from_shard, reports) = queue(REPORTS_QUEUED_MAX);
    from_shard.wakes(control);
    let (made, made_here) = mpsc::channel();
    let (go, told) = mpsc::channel();
    let shard_index = u16::try_from(index).map_err(StartError::new)?;
    let thread = spawn(&format!("shard-{index}"), Some(cpu), move || async move {
        match Shard::new(&Settings::default()) {
            Ok(shard) => {
                let _ = made.send(Ok(shard.ring.wakeup()));
                // Nothing else runs on this thread yet.
                if told.recv().is_err() {
                    return;
                }
                let context = Context {
                    index: shard_index,
                    snapshot,
                    listeners,
                    commands: for_shard,
                    reports: from_shard,
                    log,
                };
                tidegate_proxy::run(shard, context).await;
            }
            Err(error) => {
                let _ = made.send(Err(error));
            }
        }
    })
    .map_err(StartError::new)?;
    let wakeup =
        made_here.recv().map_err(|_| StartError::new(format!("shard {index} did not start")))?;
    commands.wakes(
        wakeup.map_err(|error| StartError::new(format!("the ring of shard {index}: {error}")))?,
    );
    Ok((ShardLink::new(commands, reports, Some(thread)), Go(go)))
}
