//! A few threads per device for work that waits for the disk.
//!
//! A failing disk fills its own queue and no other. Reads of clients come before their writes, and
//! both before background work.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The order in which queued jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A client waits for bytes.
    Read,
    /// A client waits for durability.
    Write,
    /// No client waits.
    Background,
}

/// The queue of the device is full: the server answers 503 instead of queueing without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    read: VecDeque<Job>,
    write: VecDeque<Job>,
    background: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn take(&mut self) -> Option<Job> {
        self.read
            .pop_front()
            .or_else(|| self.write.pop_front())
            .or_else(|| self.background.pop_front())
    }

    fn len(&self) -> usize {
        self.read.len() + self.write.len() + self.background.len()
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// The thread group of one device. Threads end when the last handle is dropped.
pub struct DeviceThreads {
    shared: Arc<Shared>,
    queue_max: usize,
}

impl std::fmt::Debug for DeviceThreads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceThreads").field("queue_max", &self.queue_max).finish()
    }
}

impl DeviceThreads {
    /// Starts `threads` threads named after the device; at most `queue_max` jobs are queued.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(name: &str, threads: usize, queue_max: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        for index in 0..threads {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .stack_size(512 * 1024)
                .spawn(move || work(&shared))?;
        }
        Ok(Self { shared, queue_max })
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`QueueFull`]; the job is dropped.
    pub fn submit(
        &self,
        priority: Priority,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), QueueFull> {
        // Log lines of the job are those of the request that it is for.
        let span = tracing::Span::current();
        {
            let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() >= self.queue_max {
                return Err(QueueFull);
            }
            let jobs = match priority {
                Priority::Read => &mut queue.read,
                Priority::Write => &mut queue.write,
                Priority::Background => &mut queue.background,
            };
            jobs.push_back(Box::new(move || span.in_scope(job)));
        }
        self.shared.wake.notify_one();
        Ok(())
    }
}

impl Drop for DeviceThreads {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.wake.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let job = {
            let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if let Some(job) = queue.take() {
                    break job;
                }
                if queue.closed {
                    return;
                }
                queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        };
        // A panic of a job must not end the thread; the caller sees a dropped reply.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn reads_go_before_writes_before_background() {
        let threads = DeviceThreads::start("test", 1, 16).unwrap();
        let (started, wait_started) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        threads
            .submit(Priority::Write, move || {
                started.send(()).unwrap();
                wait.recv().unwrap();
            })
            .unwrap();
        wait_started.recv().unwrap();
        let (done, order) = mpsc::channel();
        for priority in [Priority::Background, Priority::Write, Priority::Read] {
            let done = done.clone();
            threads.submit(priority, move || done.send(priority).unwrap()).unwrap();
        }
        release.send(()).unwrap();
        drop(done);
        let order: Vec<_> = order.iter().collect();
        assert_eq!(order, [Priority::Read, Priority::Write, Priority::Background]);
    }

    #[test]
    fn a_full_queue_refuses_and_a_panic_does_not_stop_the_thread() {
        let threads = DeviceThreads::start("test", 1, 1).unwrap();
        threads.submit(Priority::Read, || panic!("planned")).unwrap();
        let (done, wait) = mpsc::channel();
        while threads.submit(Priority::Read, {
            let done = done.clone();
            move || done.send(()).unwrap()
        }) == Err(QueueFull)
        {
            std::thread::yield_now();
        }
        wait.recv().unwrap();
    }
}
