//! What a listener's handle, its queues and its threads share.

use std::collections::HashMap;
use std::fmt;
use std::hash::RandomState;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::{self, JoinHandle};

use mcl_net::{DropCounter, Foreign, ReceiveBuffer, Receiver, Waker};
use mcl_wire::{Demux, Limits, StreamId};

use crate::statistics::ListenerStatistics;
use crate::subscription::{Outlet, Route, SubscriptionId, Tally, in_callback};
use crate::sync::{lock, read, write};

/// Where messages go; replaced as a whole, so that the receiving thread takes
/// it with one short lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routing {
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) ignored: Vec<StreamId>,
}

/// What only the receiving thread changes, and anyone may look at.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) demux: Demux<RandomState>,
    pub(crate) foreign: Foreign,
    pub(crate) receive_errors: u64,
    /// The kernel's counter, once the socket is closed.
    pub(crate) kernel_drops: Option<u64>,
}

impl Core {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            demux: Demux::new(limits, RandomState::new()),
            foreign: Foreign::default(),
            receive_errors: 0,
            kernel_drops: None,
        }
    }
}

/// The kernel's side of a listener's socket.
#[derive(Debug)]
pub(crate) struct KernelSide {
    pub(crate) receive_buffer: ReceiveBuffer,
    drop_counter: Option<DropCounter>,
}

impl KernelSide {
    pub(crate) fn of(receiver: &Receiver) -> Self {
        Self {
            receive_buffer: receiver.receive_buffer(),
            drop_counter: receiver.drop_counter().ok(),
        }
    }

    pub(crate) fn drops(&self) -> Option<u64> {
        self.drop_counter.as_ref()?.read().ok()?
    }

    /// The account, with the kernel's drops as just read.
    pub(crate) fn statistics(&self, core: &Core, drops: Option<u64>) -> ListenerStatistics {
        ListenerStatistics {
            wire: core.demux.counters(),
            streams: core.demux.streams().collect(),
            foreign: core.foreign,
            receive_errors: core.receive_errors,
            receive_buffer: self.receive_buffer,
            kernel_drops: drops.or(core.kernel_drops),
            reassembly_bytes: core.demux.allocated_bytes(),
        }
    }
}

pub(crate) struct Shared {
    open: AtomicBool,
    routing: RwLock<Arc<Routing>>,
    /// Threads of callbacks by subscription.
    workers: Mutex<HashMap<SubscriptionId, JoinHandle<()>>>,
    /// Threads to be waited for at closing: the one that receives, and those of
    /// callbacks that ended their own subscription.
    leaving: Mutex<Vec<JoinHandle<()>>>,
    waker: Waker,
    core: Mutex<Core>,
    kernel: KernelSide,
}

impl Shared {
    pub(crate) fn new(
        core: Core,
        ignored: Vec<StreamId>,
        waker: Waker,
        kernel: KernelSide,
    ) -> Self {
        Self {
            open: AtomicBool::new(true),
            routing: RwLock::new(Arc::new(Routing {
                routes: Vec::new(),
                ignored,
            })),
            workers: Mutex::new(HashMap::new()),
            leaving: Mutex::new(Vec::new()),
            waker,
            core: Mutex::new(core),
            kernel,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn routing(&self) -> Arc<Routing> {
        Arc::clone(&read(&self.routing))
    }

    pub(crate) fn core(&self) -> &Mutex<Core> {
        &self.core
    }

    /// Adds a subscription. On a closed listener it is stopped from the start.
    pub(crate) fn subscribe(&self, outlet: Outlet, tally: Arc<Tally>) -> Arc<Route> {
        let route = Arc::new(Route::new(SubscriptionId::next(), outlet, tally));
        let mut routing = write(&self.routing);
        // `close` clears the routing under this lock after it lowered `open`.
        if self.is_open() {
            Arc::make_mut(&mut routing).routes.push(Arc::clone(&route));
        } else {
            route.stop();
        }
        route
    }

    /// Starts the thread that runs a callback, and remembers it for joining.
    pub(crate) fn start_worker(
        &self,
        id: SubscriptionId,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        // Under the lock, so that the callback cannot unsubscribe itself before
        // its thread is known.
        let mut workers = lock(&self.workers);
        let thread = thread::Builder::new()
            .name(format!("mcl-callback-{id}"))
            .spawn(work)?;
        if self.is_subscribed(id) {
            workers.insert(id, thread);
        } else {
            self.leave(thread);
        }
        Ok(())
    }

    pub(crate) fn is_subscribed(&self, id: SubscriptionId) -> bool {
        read(&self.routing)
            .routes
            .iter()
            .any(|route| route.id == id)
    }

    pub(crate) fn num_subscriptions(&self) -> usize {
        read(&self.routing).routes.len()
    }

    pub(crate) fn route(&self, id: SubscriptionId) -> Option<Arc<Route>> {
        read(&self.routing)
            .routes
            .iter()
            .find(|route| route.id == id)
            .cloned()
    }

    pub(crate) fn ignore(&self, stream: StreamId) {
        let mut routing = write(&self.routing);
        if !routing.ignored.contains(&stream) {
            Arc::make_mut(&mut routing).ignored.push(stream);
        }
    }

    /// Ends a subscription; `false` if there is none of that name.
    ///
    /// Waits until its callback is not running any more, except from inside a
    /// callback: two that end each other would wait forever.
    pub(crate) fn unsubscribe(&self, id: SubscriptionId) -> bool {
        let Some(route) = self.remove(id) else {
            return false;
        };
        route.stop();
        let mut workers = lock(&self.workers);
        let worker = workers.remove(&id);
        if in_callback() {
            // Still under the lock: closing finds the thread in one place or the other.
            worker.into_iter().for_each(|worker| self.leave(worker));
            return true;
        }
        drop(workers);
        route.wait_idle();
        worker.into_iter().for_each(join);
        true
    }

    /// Keeps a thread for whoever may wait for it.
    pub(crate) fn leave(&self, thread: JoinHandle<()>) {
        let mut leaving = lock(&self.leaving);
        leaving.retain(|thread| !thread.is_finished());
        leaving.push(thread);
    }

    fn remove(&self, id: SubscriptionId) -> Option<Arc<Route>> {
        let mut routing = write(&self.routing);
        let at = routing.routes.iter().position(|route| route.id == id)?;
        Some(Arc::make_mut(&mut routing).routes.remove(at))
    }

    /// Ends everything; `true` the first time. From inside a callback it does
    /// not wait for the threads to end: the next call from elsewhere does.
    pub(crate) fn close(&self) -> bool {
        let first = self.end();
        if !in_callback() {
            let mut workers = lock(&self.workers);
            let mut threads = mem::take(&mut *lock(&self.leaving));
            threads.extend(workers.drain().map(|(_, worker)| worker));
            drop(workers);
            threads.into_iter().for_each(join);
        }
        first
    }

    /// Ends everything, and waits for nothing; `true` the first time.
    pub(crate) fn end(&self) -> bool {
        let first = self.open.swap(false, Ordering::SeqCst);
        if first {
            let routes = mem::take(&mut Arc::make_mut(&mut write(&self.routing)).routes);
            routes.iter().for_each(|route| route.stop());
            self.waker.wake();
        }
        first
    }

    /// Reads the kernel's counter one last time, while there is a socket.
    pub(crate) fn keep_kernel_drops(&self) {
        let drops = self.kernel.drops();
        lock(&self.core).kernel_drops = drops;
    }

    pub(crate) fn statistics(&self) -> ListenerStatistics {
        let drops = self.is_open().then(|| self.kernel.drops()).flatten();
        self.kernel.statistics(&lock(&self.core), drops)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("open", &self.is_open())
            .field("routing", &self.routing())
            .finish_non_exhaustive()
    }
}

/// Waits for a thread to end. Its panics were contained where user code ran.
///
/// A thread does not wait for itself: the last handle of a listener may be one
/// that a callback owned, and is then dropped with it, on the listener's thread.
fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        let _ = thread.join();
    }
}
