//! The interface through which an evaluation asks for facts of a request.

/// Values of a condition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionValues {
    /// The values; empty if the request does not have the key.
    Known(Vec<String>),
    /// The key depends on the object, which was not read yet.
    Unread,
}

/// What a request says of itself, its caller and its object.
pub trait ConditionContext {
    /// The values of a key. Its name is in lower case, except what follows a `/`, e.g.
    /// `s3:existingobjecttag/Project`.
    fn values(&self, key: &str) -> ConditionValues;
}

impl<F: Fn(&str) -> ConditionValues> ConditionContext for F {
    fn values(&self, key: &str) -> ConditionValues {
        self(key)
    }
}

/// Truth of a condition: of three values, since the object may be unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    No,
    Unknown,
    Yes,
}

impl Truth {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    pub(crate) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }
}

/// Whether all of these hold.
pub(crate) fn all(truths: impl IntoIterator<Item = Truth>) -> Truth {
    let mut result = Truth::Yes;
    for truth in truths {
        result = result.and(truth);
        if result == Truth::No {
            break;
        }
    }
    result
}

/// Whether one of these holds.
pub(crate) fn any(truths: impl IntoIterator<Item = Truth>) -> Truth {
    let mut result = Truth::No;
    for truth in truths {
        result = result.or(truth);
        if result == Truth::Yes {
            break;
        }
    }
    result
}
