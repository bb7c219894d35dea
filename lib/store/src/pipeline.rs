//! The order of the stages, on one screen. The first is the outermost.

use std::sync::Arc;

use crate::access::{Authorizer, DenyAll};
use crate::buckets::{BucketNamespace, Registry};
use crate::clock::HybridClock;
use crate::encryption::EncryptionKeys;
use crate::gate::Gate;
use crate::quorum::Quorum;
use crate::stage::account_rules::{AccountRules, AccountRulesOptions};
use crate::stage::admission::Admission;
use crate::stage::buckets::Buckets;
use crate::stage::copy::Copy;
use crate::stage::dlo::Dlo;
use crate::stage::encryption::Encryption;
use crate::stage::encryption_default::EncryptionDefault;
use crate::stage::multipart::Multipart;
use crate::stage::notify::Notify;
use crate::stage::object_lock::ObjectLock;
use crate::stage::quotas::{QuotaOptions, Quotas};
use crate::stage::slo::Slo;
use crate::stage::symlink::{HOPS_MAX, Symlink};
use crate::stage::versions::Versions;
use crate::{CopyStore, LinkStore, ManifestStore, Primitive, Store, UploadStore, VersionStore};

/// The pipeline of our own daemons: objects as they are stored, and only in the system's name
/// ([`crate::Context::system`]).
pub fn internal(quorum: Quorum) -> Arc<dyn Primitive> {
    Arc::new(Gate::new(quorum, Arc::new(DenyAll)))
}

/// The pipeline of the expirer: objects as they are stored. What it deletes has events.
pub fn expirer(quorum: Quorum) -> Arc<dyn Primitive> {
    let clock = quorum.clock().clone();
    Arc::new(Notify::new(internal(quorum), clock))
}

/// The pipeline of the lifecycle daemon: what clients' deletions pass, and only in the system's name.
/// With the keys it can follow the manifests that are encrypted.
pub fn lifecycle(quorum: Quorum, keys: Arc<EncryptionKeys>) -> Arc<dyn UploadStore> {
    let clock = quorum.clock().clone();
    let gate = Arc::new(Gate::new(quorum, Arc::new(DenyAll)));
    let encryption = Arc::new(Encryption::new(gate, keys));
    let versions = with_versions(encryption, clock.clone(), HOPS_MAX);
    let uploads = with_uploads(versions, clock.clone());
    Arc::new(Notify::new(uploads, clock).of_lifecycle())
}

/// Settings of the pipeline of clients.
#[derive(Debug, Clone)]
pub struct ClientStoreOptions {
    /// Memory for bodies in transit, in bytes.
    pub upload_bytes: u64,
    /// Number of links that are followed in a row.
    pub symloop_max: usize,
    /// Where names of buckets are unique.
    pub namespace: BucketNamespace,
    /// Quotas that are applied.
    pub quotas: QuotaOptions,
    /// What the operator forbids to accounts.
    pub account_rules: AccountRulesOptions,
}

/// The pipeline of clients, with the keys of encrypted objects.
pub fn client(
    quorum: Quorum,
    authorizer: Arc<dyn Authorizer>,
    options: ClientStoreOptions,
    keys: Arc<EncryptionKeys>,
) -> Arc<dyn Store> {
    let clock = quorum.clock().clone();
    let policies = quorum.policies().clone();
    // The one place that authorizes; all stages above it can only ask it.
    let gate: Arc<dyn Primitive> = Arc::new(Gate::new(quorum, authorizer));
    // The registry reads and writes its objects as they are stored.
    let registry = (options.namespace == BucketNamespace::Cluster)
        .then(|| Registry::new(gate.clone(), clock.clone()));
    // Keys are derived from the names under which objects are stored.
    let encryption: Arc<dyn Primitive> = Arc::new(Encryption::new(gate, keys.clone()));
    let versions = with_versions(encryption, clock.clone(), options.symloop_max);
    // Copies, manifests and parts arrive here as the objects that they write.
    let quotas = Arc::new(Quotas::new(versions, options.quotas, policies));
    let multipart = with_uploads(quotas, clock.clone());
    // A copy is a new object of its bucket; parts have the encryption of their upload.
    let default: Arc<dyn UploadStore> = Arc::new(EncryptionDefault::new(multipart, keys));
    // Copies read and write through all of the above.
    let copy: Arc<dyn CopyStore> = Arc::new(Copy::new(default));
    // Above copies and uploads, whose own reads and writes are no events of clients.
    let notify: Arc<dyn CopyStore> = Arc::new(Notify::new(copy, clock.clone()));
    // Names of buckets are above all that makes and deletes containers.
    let buckets: Arc<dyn Store> = Arc::new(Buckets::new(notify, registry));
    // Before any other work for a write: is there memory for its body?
    let admission: Arc<dyn Store> = Arc::new(Admission::new(buckets, options.upload_bytes));
    match options.account_rules.is_empty() {
        true => admission,
        // Requests that wait for their rate hold no memory.
        false => Arc::new(AccountRules::new(admission, options.account_rules, clock)),
    }
}

/// The stages between encryption and quotas.
fn with_versions(
    encryption: Arc<dyn Primitive>,
    clock: Arc<HybridClock>,
    symloop_max: usize,
) -> Arc<dyn VersionStore> {
    // A link is followed where its bytes are read, so that the stages above see its target.
    let symlink: Arc<dyn LinkStore> = Arc::new(Symlink::new(encryption, symloop_max));
    // A current version is a link to where versions are, and manifests are versions like others.
    let versions: Arc<dyn VersionStore> = Arc::new(Versions::new(symlink, clock));
    // A DLO manifest is an ordinary object with a header: joined from a listing.
    Arc::new(Dlo::new(versions))
}

/// The stages between quotas and copies.
fn with_uploads(versions: Arc<dyn VersionStore>, clock: Arc<HybridClock>) -> Arc<dyn UploadStore> {
    // A static manifest is followed before a listing is: it may have DLO segments.
    let slo: Arc<dyn ManifestStore> = Arc::new(Slo::new(versions));
    // Below uploads, whose own writes are not those of clients, and above manifests, whose segments stay
    // where a lock keeps the manifest.
    let lock: Arc<dyn ManifestStore> = Arc::new(ObjectLock::new(slo, clock));
    // A completed upload is a static manifest, so uploads come above it.
    Arc::new(Multipart::new(lock))
}
