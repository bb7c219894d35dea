//! An object server and a container server on one device, called as functions, and the ledger of
//! what they acknowledged at which point of the journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_broker::Broker;
use apus_cluster::{HashConf, PathHash, Policies, Timestamp};
use apus_daemon::clock::SystemClock;
use apus_daemon::config::Conf;
use apus_daemon::http::{SharedHandler, full, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Body, Clock};
use apus_disk::Reserve;
use apus_fault::journal;
use apus_object::{Parts, QuarantineLimit, ReplicationOptions, Server};
use apus_wire::{Client, Deadlines, Transport};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

pub(crate) const DEVICE: &str = "sd1";
/// All objects and containers of the workload are in a few partitions.
pub(crate) const PARTITIONS: u32 = 3;

/// What a reader sees of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Never heard of, or deleted.
    Absent,
    /// Body, time of body or metadata, and one item of metadata.
    Present { body: Bytes, time: String, colour: String },
    /// Anything else.
    Strange(String),
}

/// One write of a name. Writes of one name follow one another.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Length of the journal when it began.
    pub(crate) begun: usize,
    /// Length of the journal when it was acknowledged.
    pub(crate) acked: Option<usize>,
    /// What is there after it.
    pub(crate) then: Seen,
}

/// What was promised.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    /// Writes by object.
    pub(crate) objects: BTreeMap<String, Vec<Step>>,
    /// Containers that were made: partition, name, and when that was acknowledged.
    pub(crate) containers: Vec<(u32, String, usize)>,
    /// Notes of rows that could not be delivered: object, file name, operation, when promised.
    pub(crate) notes: Vec<(String, PathBuf, &'static str, usize)>,
    /// Bytes that were damaged by the test, and from when on: evidence that must stay somewhere.
    pub(crate) evidence: Vec<(Vec<u8>, usize)>,
    /// Times that were promised to holders of names, and when.
    pub(crate) promises: Vec<(String, Timestamp, usize)>,
}

pub(crate) fn hash_conf() -> HashConf {
    HashConf { prefix: b"crash".to_vec(), suffix: b"states".to_vec() }
}

pub(crate) fn object_hash(name: &str) -> PathHash {
    hash_conf().hash(&["a", "c", name])
}

pub(crate) fn partition_of(hash: &PathHash) -> u32 {
    u32::try_from(hash.modulo(u64::from(PARTITIONS))).unwrap()
}

/// The servers of a device in `devices`.
pub(crate) fn servers(devices: &Path) -> (SharedHandler, SharedHandler) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let transport = Arc::new(Transport::default());
    let client = Arc::new(Client::new(transport, clock.clone(), Deadlines::default()));
    let conf = Conf::parse("").unwrap();
    let object = Server::new(Parts {
        devices: devices.to_owned(),
        mount_check: false,
        reserve: Reserve::parse("0").unwrap(),
        hash: hash_conf(),
        policies: Policies::new(vec![]).unwrap(),
        clock: clock.clone(),
        client: client.clone(),
        counters: Arc::default(),
        verify_ranges_bytes: 1 << 20,
        quarantine_limit: QuarantineLimit::default(),
        replication: ReplicationOptions::read(&conf.section("app:object-server")).unwrap(),
    });
    let container = apus_container::Server::new(apus_container::Parts {
        devices: devices.to_owned(),
        mount_check: false,
        hash: hash_conf(),
        clock,
        client,
        broker: Arc::new(Broker::new("crash", 16, Arc::default()).unwrap()),
        constraints: Arc::default(),
    });
    (Arc::new(object), Arc::new(container))
}

pub(crate) struct Bench {
    pub(crate) devices: PathBuf,
    object: SharedHandler,
    container: SharedHandler,
    pub(crate) ledger: Ledger,
    clock: u64,
}

impl Bench {
    /// On an empty device, which is journalled from now on.
    pub(crate) fn new(devices: &Path) -> Self {
        let _ = std::fs::remove_dir_all(devices);
        std::fs::create_dir_all(devices.join(DEVICE)).unwrap();
        journal::start(&devices.join(DEVICE));
        let (object, container) = servers(devices);
        let now = SystemClock.now().as_secs() - 3600;
        Self {
            devices: devices.to_owned(),
            object,
            container,
            ledger: Ledger::default(),
            clock: now,
        }
    }

    /// The servers die and come back; the operating system stays up.
    pub(crate) fn restart(&mut self) {
        (self.object, self.container) = servers(&self.devices);
    }

    pub(crate) fn tick(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp::from_seconds(self.clock)
    }

    async fn send(
        handler: &SharedHandler,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, body) = handler.call(request.body(body).unwrap()).await.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Response::from_parts(head, body)
    }

    fn path(name: &str) -> String {
        format!("/{DEVICE}/{}/a/c/{name}", partition_of(&object_hash(name)))
    }

    fn last(&self, name: &str) -> Seen {
        let steps = self.ledger.objects.get(name);
        steps.and_then(|steps| steps.last()).map_or(Seen::Absent, |step| step.then.clone())
    }

    fn begin(&mut self, name: &str, then: Seen) {
        let step = Step { begun: journal::length(), acked: None, then };
        self.ledger.objects.entry(name.to_owned()).or_default().push(step);
    }

    fn end(&mut self, name: &str, acked: bool) {
        let step = self.ledger.objects.get_mut(name).and_then(|steps| steps.last_mut()).unwrap();
        step.acked = acked.then(journal::length);
    }

    /// Writes bodies at the same time, one an object.
    pub(crate) async fn put_all(&mut self, names: &[String], body: &[u8]) {
        let (time, colour) = (self.tick().to_string(), "green");
        let length = body.len().to_string();
        for name in names {
            let body = Bytes::from([name.as_bytes(), body].concat());
            let (time, colour) = (time.clone(), colour.to_owned());
            self.begin(name, Seen::Present { body, time, colour });
        }
        let length = |name: &str| (name.len() + length.parse::<usize>().unwrap()).to_string();
        let sent = names.iter().map(|name| {
            let (object, time, length) = (self.object.clone(), time.clone(), length(name));
            let (path, body) = (Self::path(name), [name.as_bytes(), body].concat());
            let put = async move {
                let headers = [
                    ("x-timestamp", time.as_str()),
                    ("content-type", "a/b"),
                    ("content-length", &length),
                    ("x-object-meta-colour", colour),
                ];
                let answer = Self::send(&object, "PUT", &path, &headers, full(body)).await;
                (answer.status(), journal::length())
            };
            (name.clone(), spawn(TaskKind::Request, put))
        });
        let sent: Vec<_> = sent.collect();
        for (name, put) in sent {
            let (status, acked) = put.await.unwrap();
            assert_eq!(status, StatusCode::CREATED, "{name}");
            let steps = self.ledger.objects.get_mut(&name).unwrap();
            steps.last_mut().unwrap().acked = Some(acked);
        }
    }

    /// Writes a body with more headers; gives the status.
    pub(crate) async fn put(
        &mut self,
        name: &str,
        body: &[u8],
        more: &[(&str, &str)],
    ) -> StatusCode {
        let time = self.tick().to_string();
        let colour = "red".to_owned();
        let seen = Seen::Present { body: Bytes::copy_from_slice(body), time: time.clone(), colour };
        let before = self.last(name);
        self.begin(name, seen);
        let length = body.len().to_string();
        let mut headers = vec![
            ("x-timestamp", time.as_str()),
            ("content-type", "a/b"),
            ("content-length", &length),
            ("x-object-meta-colour", "red"),
        ];
        headers.extend(more);
        let pieces = body.chunks(100_000).map(Bytes::copy_from_slice).collect();
        let answer =
            Self::send(&self.object, "PUT", &Self::path(name), &headers, pieces_of(pieces, true))
                .await;
        let status = answer.status();
        self.end(name, status.is_success());
        if status.is_success() && more.iter().any(|(header, _)| *header == "x-container-host") {
            self.note(name, "PUT", &time);
        }
        if !status.is_success() {
            // The content is unknown now, so nothing of it is written again.
            assert!(before == Seen::Absent, "{name}: {status}");
        }
        status
    }

    fn note(&mut self, name: &str, operation: &'static str, time: &str) {
        let hash = object_hash(name);
        let file =
            Path::new("async_pending").join(hash.suffix_dir()).join(format!("{hash}-{time}"));
        self.ledger.notes.push((name.to_owned(), file, operation, journal::length()));
    }

    pub(crate) async fn post(&mut self, name: &str, colour: &str) {
        let time = self.tick().to_string();
        let Seen::Present { body, .. } = self.last(name) else { panic!("{name} is not there") };
        self.begin(name, Seen::Present { body, time: time.clone(), colour: colour.to_owned() });
        let headers = [("x-timestamp", time.as_str()), ("x-object-meta-colour", colour)];
        let path = Self::path(name);
        let answer = Self::send(&self.object, "POST", &path, &headers, full("")).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        self.end(name, true);
    }

    pub(crate) async fn delete(&mut self, name: &str, more: &[(&str, &str)]) {
        let time = self.tick().to_string();
        self.begin(name, Seen::Absent);
        let mut headers = vec![("x-timestamp", time.as_str())];
        headers.extend(more);
        let path = Self::path(name);
        let answer = Self::send(&self.object, "DELETE", &path, &headers, full("")).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        self.end(name, true);
        if !more.is_empty() {
            self.note(name, "DELETE", &time);
        }
    }

    /// A body that breaks off after most of it was written.
    pub(crate) async fn break_off(&mut self, name: &str) {
        let time = self.tick().to_string();
        let headers = [
            ("x-timestamp", time.as_str()),
            ("content-type", "a/b"),
            ("content-length", "9000000"),
        ];
        let pieces = (0..12).map(|_| Bytes::from(vec![b'x'; 100_000])).collect();
        let body = pieces_of(pieces, false);
        let answer = Self::send(&self.object, "PUT", &Self::path(name), &headers, body).await;
        assert!(!answer.status().is_success());
    }

    /// Reads an object, as a client would.
    pub(crate) async fn get(&self, name: &str) -> Seen {
        get(&self.object, name).await
    }

    /// The suffix hashes of a partition, as another replicator asks for them.
    pub(crate) async fn hashes(&self, partition: u32) -> Bytes {
        hashes(&self.object, partition).await
    }

    /// What replication brings: a body of one object, the deletion of another.
    pub(crate) async fn receive(&mut self, put: &str, body: &[u8], delete: &str) {
        let partition = partition_of(&object_hash(put));
        assert_eq!(partition, partition_of(&object_hash(delete)));
        let (time, later) = (self.tick().to_string(), self.tick().to_string());
        let (hash, other) = (object_hash(put), object_hash(delete));
        let mut text = format!(
            ":MISSING_CHECK: START\r\n{hash} {time}\r\n{other} {later}\r\n:MISSING_CHECK: END\r\n"
        );
        text.push_str(&format!(
            ":UPDATES: START\r\nPUT /a/c/{put}\r\nContent-Length: {}\r\nX-Timestamp: {time}\r\n\
             Content-Type: a/b\r\nX-Object-Meta-Colour: blue\r\nETag: {:x}\r\n\r\n",
            body.len(),
            md5::compute(body)
        ));
        let mut bytes = text.into_bytes();
        bytes.extend(body);
        bytes.extend(
            format!("DELETE /a/c/{delete}\r\nX-Timestamp: {later}\r\n\r\n:UPDATES: END\r\n")
                .as_bytes(),
        );
        let body = Bytes::copy_from_slice(body);
        self.begin(put, Seen::Present { body, time, colour: "blue".to_owned() });
        self.begin(delete, Seen::Absent);
        let path = format!("/{DEVICE}/{partition}");
        let answer = Self::send(&self.object, "SSYNC", &path, &[], full(bytes)).await;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        assert!(text.ends_with(":UPDATES: START\r\n:UPDATES: END\r\n"), "{text}");
        self.end(put, true);
        self.end(delete, true);
    }

    /// Takes a name, as conditional writes do.
    pub(crate) async fn reserve(&mut self, name: &str) {
        let time = self.tick();
        let text = time.to_string();
        let headers = [("x-timestamp", text.as_str())];
        let answer =
            Self::send(&self.object, "RESERVE", &Self::path(name), &headers, full("")).await;
        assert!(answer.headers().contains_key("x-backend-apus-reserved"), "{answer:?}");
        self.ledger.promises.push((name.to_owned(), time, journal::length()));
    }

    /// Damages the body of an object on the disk, finds that when reading, and says which bytes are
    /// to be kept as evidence. Whether anybody reads the object then is none of this test's business.
    pub(crate) async fn damage(&mut self, name: &str) {
        use std::os::unix::fs::FileExt;
        let hash = object_hash(name);
        let directory = self.devices.join(DEVICE).join(format!(
            "objects/{}/{}/{hash}",
            partition_of(&hash),
            hash.suffix_dir()
        ));
        let file = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
        let damage = format!("damaged {name}");
        let open = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        open.write_all_at(damage.as_bytes(), 0).unwrap();
        let which = || journal::Which::Path(file.clone());
        let (offset, bytes) = (Some(0), damage.clone().into_bytes());
        self.begin(name, Seen::Absent);
        journal::note(|| journal::Change::Write { file: which(), offset, bytes });
        let begun = journal::length();
        journal::note(|| journal::Change::SyncFile { file: which(), begun });
        self.end(name, true);
        let whole = std::fs::read(&file).unwrap();
        self.ledger.evidence.push((whole, journal::length()));
        assert!(!matches!(self.get(name).await, Seen::Present { .. }), "damage is served");
        // It is moved aside behind the answer.
        for _ in 0..500 {
            if !directory.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} was not moved aside");
    }

    /// Makes a container; gives the status.
    pub(crate) async fn make_container(&mut self, partition: u32, name: &str) -> StatusCode {
        let time = self.tick().to_string();
        let headers = [("x-timestamp", time.as_str()), ("x-backend-storage-policy-index", "0")];
        let path = format!("/{DEVICE}/{partition}/a/{name}");
        let answer = Self::send(&self.container, "PUT", &path, &headers, full("")).await;
        if answer.status().is_success() {
            self.ledger.containers.push((partition, name.to_owned(), journal::length()));
        }
        answer.status()
    }
}

/// A body in pieces, which ends well or breaks off.
fn pieces_of(pieces: Vec<Bytes>, whole: bool) -> Body {
    let (sender, receiver) = mpsc::channel(pieces.len() + 1);
    for piece in pieces {
        sender.try_send(Ok(piece)).unwrap();
    }
    if !whole {
        sender.try_send(Err("gone".into())).unwrap();
    }
    stream(receiver)
}

/// What a client sees of an object on a device.
pub(crate) async fn get(object: &SharedHandler, name: &str) -> Seen {
    let request = Request::get(Bench::path(name)).body(full("")).unwrap();
    let (head, body) = object.call(request).await.into_parts();
    let text = |name: &str| {
        head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    match (head.status, body.collect().await) {
        (StatusCode::OK, Ok(body)) => Seen::Present {
            body: body.to_bytes(),
            time: text("x-timestamp"),
            colour: text("x-object-meta-colour"),
        },
        (StatusCode::OK, Err(_)) => Seen::Strange("a body that breaks off".to_owned()),
        (StatusCode::NOT_FOUND, _) => Seen::Absent,
        (status, _) => Seen::Strange(status.to_string()),
    }
}

pub(crate) async fn hashes(object: &SharedHandler, partition: u32) -> Bytes {
    let path = format!("/{DEVICE}/{partition}");
    let answer = Bench::send(object, "REPLICATE", &path, &[], full("")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body()
}

/// Whether a container is there.
pub(crate) async fn has_container(container: &SharedHandler, partition: u32, name: &str) -> bool {
    let path = format!("/{DEVICE}/{partition}/a/{name}");
    Bench::send(container, "HEAD", &path, &[], full("")).await.status() == StatusCode::NO_CONTENT
}

/// Whether a name may be taken at a time.
pub(crate) async fn may_reserve(object: &SharedHandler, name: &str, time: Timestamp) -> bool {
    let time = time.to_string();
    let headers = [("x-timestamp", time.as_str())];
    let answer = Bench::send(object, "RESERVE", &Bench::path(name), &headers, full("")).await;
    answer.status() != StatusCode::CONFLICT
}
