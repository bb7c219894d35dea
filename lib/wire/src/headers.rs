//! Names of the headers between servers. Source: `swift/{account,container,obj}/server.py`.

/// Asks that a change of a container's metadata leaves its own time as it is.
pub const NO_TIMESTAMP_UPDATE: &str = "x-backend-no-timestamp-update";
/// Asks a listing for names that begin with NUL, too.
pub const ALLOW_RESERVED_NAMES: &str = "x-backend-allow-reserved-names";
/// Time of a write.
pub const TIMESTAMP: &str = "x-timestamp";
/// Storage policy of the request or answer.
pub const POLICY_INDEX: &str = "x-backend-storage-policy-index";
/// Policy for a new container whose client named none.
pub const POLICY_DEFAULT: &str = "x-backend-storage-policy-default";
/// Newest time an object server knows of a name.
pub const BACKEND_TIMESTAMP: &str = "x-backend-timestamp";
/// Content type with the parameters that only we see.
pub const BACKEND_CONTENT_TYPE: &str = "x-backend-content-type";
/// Time of the data file.
pub const DATA_TIMESTAMP: &str = "x-backend-data-timestamp";
/// Time of the newest durable data file.
pub const DURABLE_TIMESTAMP: &str = "x-backend-durable-timestamp";
/// Servers that a container row is sent to: addresses, comma separated.
pub const CONTAINER_HOST: &str = "x-container-host";
/// Partition of the container.
pub const CONTAINER_PARTITION: &str = "x-container-partition";
/// Devices, as many as hosts.
pub const CONTAINER_DEVICE: &str = "x-container-device";
/// State of the root container's database as the proxy knows it, kept with an undelivered row.
pub const CONTAINER_ROOT_STATE: &str = "x-container-root-db-state";
/// The shard that a container row belongs to, percent-encoded.
pub const QUOTED_CONTAINER_PATH: &str = "x-backend-quoted-container-path";
/// The same as it is, from older proxies.
pub const CONTAINER_PATH: &str = "x-backend-container-path";
/// Content of a container listing: `object`, `shard`, or `auto` for shards where there are some.
pub const RECORD_TYPE: &str = "x-backend-record-type";
/// How much of each shard a listing of shards contains: `namespace` or `full`.
pub const SHARD_FORMAT: &str = "x-backend-record-shard-format";
/// Storage policy of the rows in a listing.
pub const RECORD_POLICY: &str = "x-backend-record-storage-policy-index";
/// When an object expires, in seconds since 1970.
pub const DELETE_AT: &str = "x-delete-at";
/// Container of the expirer's queue that the task belongs to.
pub const DELETE_AT_CONTAINER: &str = "x-delete-at-container";
/// Servers that the expirer's task is sent to: addresses, comma separated.
pub const DELETE_AT_HOST: &str = "x-delete-at-host";
/// Partition of the queue's container.
pub const DELETE_AT_PARTITION: &str = "x-delete-at-partition";
/// Devices, as many as hosts.
pub const DELETE_AT_DEVICE: &str = "x-delete-at-device";
/// Delete only what expires at exactly this time.
pub const IF_DELETE_AT: &str = "x-if-delete-at";
/// Whether the server removes the task of an expiry that no longer holds; true by default.
pub const CLEAN_QUEUE: &str = "x-backend-clean-expiring-object-queue";
/// A copy made by replication: no rows are sent for it.
pub const REPLICATION: &str = "x-backend-replication";
/// Another part power: what is written needs a name in that partition, too.
pub const NEXT_PART_POWER: &str = "x-backend-next-part-power";
/// The sender of a row understands a redirect to another container.
pub const ACCEPT_REDIRECT: &str = "x-backend-accept-redirect";
/// The sender of a row understands a percent-encoded redirect.
pub const ACCEPT_QUOTED_LOCATION: &str = "x-backend-accept-quoted-location";
/// Whether `Location` is percent-encoded.
pub const LOCATION_IS_QUOTED: &str = "x-backend-location-is-quoted";
/// Time of the shard that a row is redirected to: of several redirects the newest is right.
pub const REDIRECT_TIMESTAMP: &str = "x-backend-redirect-timestamp";
/// Servers that an account row is sent to: addresses, comma separated.
pub const ACCOUNT_HOST: &str = "x-account-host";
/// Partition of the account.
pub const ACCOUNT_PARTITION: &str = "x-account-partition";
/// Devices, as many as hosts.
pub const ACCOUNT_DEVICE: &str = "x-account-device";
/// Size in a container row.
pub const SIZE: &str = "x-size";
/// Content type in a container row.
pub const CONTENT_TYPE: &str = "x-content-type";
/// Etag in a container row.
pub const ETAG: &str = "x-etag";
/// Time of the content type in a container row.
pub const CONTENT_TYPE_TIMESTAMP: &str = "x-content-type-timestamp";
/// Time of the metadata in a container row.
pub const META_TIMESTAMP: &str = "x-meta-timestamp";
/// `yes`: late metadata follows the body.
pub const METADATA_FOOTER: &str = "x-backend-obj-metadata-footer";
/// `yes`: the server waits for a commit.
pub const MULTIPHASE_COMMIT: &str = "x-backend-obj-multiphase-commit";
/// On the first 100 of a PUT: the server reads late metadata.
pub const WILL_READ_FOOTERS: &str = "X-Obj-Metadata-Footer";
/// On the first 100 of a PUT: the server waits for a commit, and sends a second 100 before it.
pub const WILL_COMMIT: &str = "X-Obj-Multiphase-Commit";
/// MIME boundary of a PUT with footers.
pub const MIME_BOUNDARY: &str = "x-backend-obj-multipart-mime-boundary";
/// Length of the object in a MIME PUT.
pub const OBJECT_LENGTH: &str = "x-backend-obj-content-length";
/// Names of sysmeta that hold the etag conditions compare with.
pub const ETAG_IS_AT: &str = "x-backend-etag-is-at";
/// Serve the whole object, whatever the range, if one of these metadata items is there.
pub const IGNORE_RANGE_IF: &str = "x-backend-ignore-range-if-metadata-present";
/// Values for the container row instead of the object's own.
pub const OVERRIDE_PREFIX: &str = "x-backend-container-update-override-";
/// The same, stored with the object.
pub const SYSMETA_OVERRIDE_PREFIX: &str = "x-object-sysmeta-container-update-override-";
/// Ours: the footers will carry a CRC-64/NVME of the body, so the server need not compute MD5.
pub const BODY_CRC: &str = "x-backend-apus-body-crc64nvme";
/// Ours, a footer: the time to store a body under, when that is later than `X-Timestamp`. A server
/// that does not know it stores the body under the earlier one, which replication then replaces.
pub const FINAL_TIMESTAMP: &str = "x-backend-apus-timestamp";
/// Ours: `yes` on a strong write, which must not succeed below a promised time.
pub const STRONG: &str = "x-backend-apus-strong";
/// Ours, a header or a footer: `yes` on the commit of a write whose name was reserved at its time.
pub const RESERVED: &str = "x-backend-apus-reserved";
/// Ours: nodes that are behind, as `ip:port/device`, comma separated.
pub const REPAIR_TO: &str = "x-backend-apus-repair-to";
/// Ours: a listing with deleted rows and full times, for strong reads.
pub const LIST_DELETED: &str = "x-backend-apus-include-deleted";
/// The row is taken although the account is deleted.
pub const ACCOUNT_OVERRIDE_DELETED: &str = "x-account-override-deleted";
/// In a `REPLICATE` request to an object server: numbers of partitions, comma separated, whose
/// marks are requested as a JSON list, with null for a partition without a mark. In the answer to
/// a request for suffix hashes: the mark of that partition, taken before they were read. Ours.
pub const PARTITION_MARKS: &str = "x-backend-apus-partition-marks";
/// In an `SSYNC` request: asks since when the receiver's device has been present. In the answer: the
/// time since which it has missed no tombstone that was reclaimed elsewhere. Ours.
pub const PRESENT_SINCE: &str = "x-backend-apus-present-since";
/// `Deleted` for a deleted account that is still known.
pub const ACCOUNT_STATUS: &str = "x-account-status";
/// Read the object although it has expired.
pub const OPEN_EXPIRED: &str = "x-backend-open-expired";
/// Transaction id: joins the log lines of one client request.
pub const TRANS_ID: &str = "x-trans-id";
