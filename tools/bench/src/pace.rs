//! Start times of requests: closed loop, or open loop at a given rate.
//!
//! In the closed loop a request starts when a worker is free. In the open loop request number i is
//! due at i / rate, whether or not earlier ones have ended, and its latency counts from there: time
//! spent waiting for a free worker is included, so a slow server cannot improve its figures by
//! getting fewer requests. A thread releases due requests, since the runtime's timers are too coarse.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Bounds of a phase.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    /// Requests at most.
    pub(super) requests: Option<u64>,
    /// Time after which none is started.
    pub(super) duration: Option<Duration>,
    /// Requests per second of the open loop.
    pub(super) rate: Option<f64>,
}

/// Deals out requests to workers.
#[derive(Debug)]
pub(super) struct Pace {
    begin: Instant,
    next: AtomicU64,
    requests: u64,
    duration: Option<Duration>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    rate: f64,
    due: Semaphore,
}

/// Leave to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) number: u64,
    /// When it should have started; `None` in the closed loop.
    pub(super) due: Option<Instant>,
}

impl Bounds {
    /// Requests that will be dealt out if time allows.
    fn total(&self) -> u64 {
        let scheduled = match (self.rate, self.duration) {
            (Some(rate), Some(duration)) => (rate * duration.as_secs_f64()).ceil() as u64,
            _ => u64::MAX,
        };
        scheduled.min(self.requests.unwrap_or(u64::MAX))
    }
}

/// How long after the beginning a request is due.
fn due_after(number: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

/// Requests that are due `elapsed` after the beginning.
fn due_by(elapsed: Duration, rate: f64) -> u64 {
    (elapsed.as_secs_f64() * rate).floor() as u64 + 1
}

impl Pace {
    /// Starts the clock.
    pub(super) fn start(bounds: &Bounds) -> Self {
        Self {
            begin: Instant::now(),
            next: AtomicU64::new(0),
            requests: bounds.total(),
            duration: bounds.duration,
            open: bounds.rate.map(|rate| Open { rate, due: Semaphore::new(0) }),
        }
    }

    /// Waits until a request may start; `None` after the last one.
    pub(super) async fn next(&self) -> Option<Turn> {
        if let Some(open) = &self.open {
            open.due.acquire().await.ok()?.forget();
        }
        if self.duration.is_some_and(|duration| self.begin.elapsed() >= duration) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.open.as_ref().map(|open| self.begin + due_after(number, open.rate));
        (number < self.requests).then_some(Turn { number, due })
    }

    /// Releases requests of the open loop as they become due. Blocks until all are.
    pub(super) fn release(&self) {
        let Some(open) = &self.open else { return };
        let mut released = 0;
        while released < self.requests {
            let due = due_by(self.begin.elapsed(), open.rate).min(self.requests);
            open.due.add_permits(due.saturating_sub(released) as usize);
            released = released.max(due);
            let wait = due_after(released, open.rate).saturating_sub(self.begin.elapsed());
            if released < self.requests {
                std::thread::sleep(wait);
            }
        }
        // Waiting workers find that no request is left.
        open.due.add_permits(1 << 20);
    }

    /// Time since the clock was started.
    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Requests dealt out.
    pub(super) fn started(&self) -> u64 {
        self.next.load(Ordering::Relaxed).min(self.requests)
    }

    /// Requests that were due and not started when time was up.
    pub(super) fn unsent(&self) -> u64 {
        if self.open.is_some() { self.requests - self.started() } else { 0 }
    }

    /// How much is done, from 0 to 1.
    pub(super) fn progress(&self) -> f64 {
        let requests = self.started() as f64 / self.requests.max(1) as f64;
        let time = self
            .duration
            .map_or(0.0, |duration| self.elapsed().as_secs_f64() / duration.as_secs_f64());
        requests.max(time).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn the_closed_loop_deals_every_number_once_and_at_once() {
        let pace = Pace::start(&Bounds { requests: Some(3), ..Bounds::default() });
        block_on(async {
            for number in 0..3 {
                assert_eq!(pace.next().await, Some(Turn { number, due: None }));
            }
            assert_eq!(pace.next().await, None);
        });
        assert_eq!((pace.started(), pace.unsent()), (3, 0));
    }

    #[test]
    fn nothing_starts_after_the_duration() {
        let bounds = Bounds { duration: Some(Duration::from_millis(200)), ..Bounds::default() };
        let pace = Pace::start(&bounds);
        assert!(block_on(pace.next()).is_some());
        std::thread::sleep(Duration::from_millis(201));
        assert_eq!(block_on(pace.next()), None);
    }

    #[test]
    fn the_schedule_is_even_and_starts_at_once() {
        assert_eq!(due_after(0, 250.0), Duration::ZERO);
        assert_eq!(due_after(1, 250.0), Duration::from_millis(4));
        assert_eq!(due_after(1000, 250.0), Duration::from_secs(4));
        assert_eq!(due_by(Duration::ZERO, 250.0), 1);
        assert_eq!(due_by(Duration::from_millis(3), 250.0), 1);
        assert_eq!(due_by(Duration::from_millis(4), 250.0), 2);
        assert_eq!(due_by(Duration::from_secs(1), 250.0), 251);
    }

    #[test]
    fn the_open_loop_keeps_its_schedule_while_no_worker_takes_requests() {
        let bounds = Bounds { requests: Some(5), rate: Some(1000.0), ..Bounds::default() };
        let pace = Pace::start(&bounds);
        pace.release();
        assert!(pace.elapsed() >= Duration::from_millis(4));
        let begin = pace.begin;
        block_on(async {
            for number in 0..5 {
                let due = Some(begin + Duration::from_millis(number));
                assert_eq!(pace.next().await, Some(Turn { number, due }));
            }
            assert_eq!(pace.next().await, None);
        });
    }

    #[test]
    fn no_request_of_the_open_loop_starts_before_it_is_due() {
        let bounds = Bounds { requests: Some(200), rate: Some(5000.0), ..Bounds::default() };
        let pace = Pace::start(&bounds);
        std::thread::scope(|scope| {
            scope.spawn(|| pace.release());
            block_on(async {
                while let Some(turn) = pace.next().await {
                    assert!(turn.due.unwrap() <= Instant::now(), "{turn:?}");
                }
            });
        });
        assert_eq!(pace.started(), 200);
    }

    #[test]
    fn requests_that_were_due_and_not_started_in_time_are_counted() {
        let bounds =
            Bounds { requests: None, duration: Some(Duration::from_millis(200)), rate: Some(50.0) };
        let pace = Pace::start(&bounds);
        assert!(block_on(async {
            pace.open.as_ref().unwrap().due.add_permits(1);
            pace.next().await.is_some()
        }));
        pace.release();
        std::thread::sleep(Duration::from_millis(25));
        assert_eq!(block_on(pace.next()), None);
        assert_eq!((pace.started(), pace.unsent()), (1, 9));
    }
}
