//! Conditional writes, played through in random order: writers that stall and die, messages that
//! are lost, servers that forget everything but their ceiling, clocks that are off. Whatever
//! happens, no acknowledged conditional write may have passed over an acknowledged write.
//!
//! The servers' rules are the real ones (`apus_object::reservation::Names`), and so is the
//! writers' judgement (`apus_store::quorum::verdict`); the disk, the network and time are played.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use apus_cluster::{PathHash, Timestamp};
use apus_object::reservation::{Ask, Fence, Names};
use apus_store::quorum::{Reply, Verdict, verdict};

const NAME: PathHash = PathHash([7; 16]);
const SERVERS: usize = 3;
const NEEDED: usize = 2;

/// SplitMix64: the same seed plays the same game.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// What may be left out of the rules, to see that the game would notice.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    CommitWithoutHold,
    ForgetCeiling,
    LetStrongWritesSlip,
    AskOnlyOne,
}

struct Server {
    names: Names,
    ceiling: u64,
    stored: Option<Timestamp>,
    /// Connections of an earlier life lead nowhere.
    life: u32,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Expects the version that it was sent.
    Conditional,
    Plain,
}

struct Writer {
    kind: Kind,
    time: Timestamp,
    replies: Vec<Reply>,
    granted: Vec<usize>,
    expected: Option<Timestamp>,
    committing: bool,
    answers: usize,
    good: usize,
    done: bool,
    lives: [u32; SERVERS],
}

/// Something that may happen next.
#[derive(Clone, Copy)]
enum Event {
    Ask { writer: usize, server: usize },
    Reported { writer: usize, server: usize },
    Commit { writer: usize, server: usize },
    OnDisk { writer: usize, server: usize, fence: Fence },
}

struct Acknowledged {
    time: Timestamp,
    expected: Option<Option<Timestamp>>,
}

struct Game {
    chance: Chance,
    mistake: Mistake,
    servers: Vec<Server>,
    writers: Vec<Writer>,
    events: Vec<Event>,
    acknowledged: Vec<Acknowledged>,
    /// Clocks of three proxies, as the greatest time each gave or saw.
    clocks: [u64; 3],
    now: u64,
}

impl Game {
    fn new(seed: u64, mistake: Mistake) -> Self {
        let server = || Server { names: Names::default(), ceiling: 0, stored: None, life: 0 };
        Self {
            chance: Chance(seed),
            mistake,
            servers: (0..SERVERS).map(|_| server()).collect(),
            writers: Vec::new(),
            events: Vec::new(),
            acknowledged: Vec::new(),
            clocks: [0; 3],
            now: 1000,
        }
    }

    fn begin(&mut self) {
        let proxy = self.chance.below(3);
        // Two of the clocks are off, by up to fifty steps.
        let off = [0, 50, 25][proxy];
        let time = (self.now - off).max(self.clocks[proxy] + 1);
        self.clocks[proxy] = time;
        let kind = if self.chance.one_in(3) { Kind::Plain } else { Kind::Conditional };
        let writer = self.writers.len();
        for server in 0..SERVERS {
            self.events.push(match kind {
                Kind::Conditional => Event::Ask { writer, server },
                Kind::Plain => Event::Commit { writer, server },
            });
        }
        self.writers.push(Writer {
            kind,
            // No two proxies give the same time: one proxy's times end in its number.
            time: Timestamp::from_steps(time * 4 + proxy as u64),
            replies: Vec::new(),
            granted: Vec::new(),
            expected: None,
            committing: matches!(kind, Kind::Plain),
            answers: 0,
            good: 0,
            done: false,
            lives: std::array::from_fn(|server| self.servers[server].life),
        });
    }

    fn saw(&mut self, writer: usize, time: Timestamp) {
        let proxy = (self.writers[writer].time.steps() % 4) as usize;
        self.clocks[proxy] = self.clocks[proxy].max(time.steps() / 4);
    }

    fn restart(&mut self, server: usize) {
        let server = &mut self.servers[server];
        let floor = if self.mistake == Mistake::ForgetCeiling { 0 } else { server.ceiling };
        server.names = Names::new(Timestamp::from_steps(floor));
        server.life += 1;
    }

    fn step(&mut self) {
        let at = self.chance.below(self.events.len());
        let event = self.events.swap_remove(at);
        let (writer, server) = match event {
            Event::Ask { writer, server }
            | Event::Reported { writer, server }
            | Event::Commit { writer, server }
            | Event::OnDisk { writer, server, .. } => (writer, server),
        };
        let dead = self.writers[writer].lives[server] != self.servers[server].life;
        if dead || self.chance.one_in(25) {
            // The connection broke; what is on its way to a disk still arrives.
            if let Event::OnDisk { fence, .. } = event
                && !dead
            {
                self.land(writer, server, fence);
            }
            self.answer(writer, None);
            return;
        }
        match event {
            Event::Ask { .. } => self.ask(writer, server),
            Event::Reported { .. } => {
                if self.servers[server].names.is_writing(&NAME) {
                    self.events.push(event);
                } else {
                    self.report(writer, server);
                }
            }
            Event::Commit { .. } => self.commit(writer, server),
            Event::OnDisk { fence, .. } => {
                self.land(writer, server, fence);
                self.answer(writer, Some(true));
            }
        }
    }

    fn ask(&mut self, writer: usize, server: usize) {
        let time = self.writers[writer].time;
        let overtake = self.chance.one_in(5);
        let own = &mut self.servers[server];
        own.ceiling = own.ceiling.max(time.steps() + 8);
        match own.names.ask(NAME, time, overtake) {
            Ask::Granted => self.events.push(Event::Reported { writer, server }),
            Ask::Busy => self.events.push(Event::Ask { writer, server }),
            Ask::TooEarly(promised) => {
                self.saw(writer, promised);
                self.reply(writer, server, Reply::TooEarly);
            }
        }
    }

    fn report(&mut self, writer: usize, server: usize) {
        let stored = self.servers[server].stored;
        let time = self.writers[writer].time;
        if let Some(stored) = stored {
            self.saw(writer, stored);
        }
        if stored >= Some(time) {
            self.servers[server].names.release(&NAME, time);
            self.reply(writer, server, Reply::TooEarly);
        } else {
            self.reply(writer, server, Reply::Granted(stored.into()));
        }
    }

    fn reply(&mut self, writer: usize, server: usize, reply: Reply) {
        let needs = if self.mistake == Mistake::AskOnlyOne { 1 } else { SERVERS };
        let own = &mut self.writers[writer];
        if own.committing || own.done {
            return;
        }
        if matches!(reply, Reply::Granted(_)) {
            own.granted.push(server);
        }
        own.replies.push(reply);
        match verdict(&own.replies, needs) {
            Verdict::Taken { newest } => {
                own.expected = match own.replies[newest] {
                    Reply::Granted(version) => version.data,
                    _ => unreachable!("only what was granted is judged by"),
                };
                own.committing = true;
                own.answers = 0;
                for server in 0..SERVERS {
                    self.events.push(Event::Commit { writer, server });
                }
            }
            _ if own.replies.len() == SERVERS => own.done = true,
            _ => {}
        }
    }

    fn commit(&mut self, writer: usize, server: usize) {
        let own = &self.writers[writer];
        let fence = match own.granted.contains(&server) {
            true => Fence::Held,
            false if self.mistake == Mistake::LetStrongWritesSlip => Fence::Plain,
            false => Fence::Strong,
        };
        let time = own.time;
        let newer = self.servers[server].stored >= Some(time);
        let refused = match self.servers[server].names.enter(NAME, time, fence) {
            Ok(()) if newer && fence != Fence::Held => {
                self.servers[server].names.leave(&NAME, time, fence);
                true
            }
            Ok(()) => false,
            Err(_) if fence == Fence::Held && self.mistake == Mistake::CommitWithoutHold => {
                self.servers[server].stored = self.servers[server].stored.max(Some(time));
                self.answer(writer, Some(true));
                return;
            }
            Err(promised) => {
                self.saw(writer, promised);
                true
            }
        };
        if refused {
            self.answer(writer, Some(false));
        } else {
            self.events.push(Event::OnDisk { writer, server, fence });
        }
    }

    fn land(&mut self, writer: usize, server: usize, fence: Fence) {
        let time = self.writers[writer].time;
        let server = &mut self.servers[server];
        server.stored = server.stored.max(Some(time));
        server.names.leave(&NAME, time, fence);
    }

    fn answer(&mut self, writer: usize, good: Option<bool>) {
        let own = &mut self.writers[writer];
        if !own.committing {
            own.replies.push(Reply::Silent);
            own.done |= own.replies.len() >= SERVERS;
            return;
        }
        own.answers += 1;
        own.good += usize::from(good == Some(true));
        if own.good == NEEDED && !own.done {
            own.done = true;
            self.acknowledged.push(Acknowledged {
                time: own.time,
                expected: matches!(own.kind, Kind::Conditional).then_some(own.expected),
            });
        }
    }

    /// Plays to the end; returns the first acknowledged write that was lost.
    fn play(mut self) -> (usize, Option<String>) {
        for _ in 0..12 {
            self.begin();
            for _ in 0..self.chance.below(12) {
                self.now += 3;
                if self.chance.one_in(40) {
                    let server = self.chance.below(SERVERS);
                    self.restart(server);
                }
                if !self.events.is_empty() {
                    self.step();
                }
            }
        }
        for _ in 0..10_000 {
            if self.events.is_empty() {
                break;
            }
            self.step();
        }
        let conditional = self.acknowledged.iter().filter(|own| own.expected.is_some()).count();
        for own in &self.acknowledged {
            let Some(expected) = own.expected else { continue };
            let between =
                |other: &&Acknowledged| Some(other.time) > expected && other.time < own.time;
            if let Some(other) = self.acknowledged.iter().find(between) {
                let text = format!(
                    "{} was written on {expected:?} and passed over {}",
                    own.time, other.time
                );
                return (conditional, Some(text));
            }
        }
        (conditional, None)
    }
}

const GAMES: u64 = 20_000;

#[test]
fn no_conditional_write_passes_over_an_acknowledged_one() {
    let mut won = 0;
    for seed in 0..GAMES {
        let (conditional, wrong) = Game::new(seed, Mistake::None).play();
        assert_eq!(wrong, None, "seed {seed}");
        won += conditional;
    }
    println!("reservation: games={GAMES} conditional_writes={won} passed_over=0");
    assert!(won as u64 > GAMES, "only {won} conditional writes got through");
}

#[test]
fn the_game_notices_each_rule_that_is_left_out() {
    for (name, mistake) in [
        ("the hold is not checked at the commit", Mistake::CommitWithoutHold),
        ("promises do not outlive a restart", Mistake::ForgetCeiling),
        ("strong writes slip in below a promise", Mistake::LetStrongWritesSlip),
        ("one server is as good as a majority", Mistake::AskOnlyOne),
    ] {
        let noticed = (0..GAMES).any(|seed| Game::new(seed, mistake).play().1.is_some());
        assert!(noticed, "nothing went wrong although {name}");
    }
}
