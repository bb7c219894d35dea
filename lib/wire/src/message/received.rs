//! A decoded request and the device it was sent to.

/// A request as a server receives it. Senders name the device only when a request goes out, since
/// the same request is sent to several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<T> {
    /// Name of the device, which is one directory of the server.
    pub device: String,
    /// The request.
    pub message: T,
}

impl<T> Received<T> {
    /// The same device with another message.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Received<U> {
        Received { device: self.device, message: change(self.message) }
    }
}
