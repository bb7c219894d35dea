//! Policy documents: parsed strictly and compiled.
//!
//! A document with an element that cannot be evaluated is an error that names the element, so that no
//! statement is stored that has no effect.

use crate::action::{ActionError, ActionScope, ActionServices, ActionSet};
use crate::arn::{ArnError, ArnPattern, SEGMENTS};
use crate::condition::operator::ConditionOperator;
use crate::condition::{Condition, OperandError, Operands, keys};
use crate::glob::Glob;
use crate::json::JsonNode;
use crate::principal::{PrincipalError, PrincipalPattern, PrincipalSet};
use crate::variables::find_outside;

/// Longest document, in bytes: S3's limit for bucket policies. Those of IAM are lower.
pub const DOCUMENT_BYTES_MAX: usize = 20 * 1024;

/// Start of the names of S3's buckets and objects.
pub const S3_ARN_PREFIX: &str = "arn:aws:s3:::";

/// What a document belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind<'a> {
    /// A bucket: statements have principals, and resources in the bucket.
    Bucket {
        /// Name of the bucket.
        name: &'a str,
    },
    /// A bucket, whose name was compared with the resources when the document was put.
    StoredBucket,
    /// A user, group, role or session: statements have resources and no principals.
    Identity,
    /// A role, for those who may assume it: statements have principals and no resources.
    Trust,
}

/// Errors of documents. The text names the element.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The document is too long.
    #[error("the document has {bytes} bytes, at most {DOCUMENT_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The document is not JSON.
    #[error("the document is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// An element cannot be evaluated.
    #[error("{element}: {reason}")]
    Element {
        /// Path of the element, e.g. `Statement[0].Condition.StringLike`.
        element: String,
        /// What is wrong with it.
        reason: String,
    },
}

type Result<T> = std::result::Result<T, DocumentError>;

/// Whether a statement allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyEffect {
    /// Allows.
    Allow,
    /// Denies, whatever another statement allows.
    Deny,
}

/// The resources of a statement.
#[derive(Debug, Clone)]
pub(crate) struct ResourceSet {
    /// Whether the statement names the resources that it is not about.
    pub(crate) negated: bool,
    pub(crate) patterns: Vec<ArnPattern>,
}

/// A statement of a document.
#[derive(Debug, Clone)]
pub struct PolicyStatement {
    /// Its `Sid`, or `Statement[n]`.
    pub(crate) name: String,
    pub(crate) effect: PolicyEffect,
    /// `None` in documents of identities.
    pub(crate) principals: Option<PrincipalSet>,
    pub(crate) actions: ActionSet,
    /// `None` in documents of trust.
    pub(crate) resources: Option<ResourceSet>,
    pub(crate) conditions: Vec<Condition>,
}

/// A compiled document.
#[derive(Debug, Clone)]
pub struct PolicyDocument {
    pub(crate) statements: Vec<PolicyStatement>,
}

/// A position in the document, for errors.
#[derive(Debug, Clone)]
struct ElementPath(String);

impl ElementPath {
    fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    fn error(&self, reason: impl Into<String>) -> DocumentError {
        let element = if self.0.is_empty() { "the document" } else { &self.0 };
        DocumentError::Element { element: element.to_owned(), reason: reason.into() }
    }

    fn refuse(&self, reason: &dyn std::error::Error) -> DocumentError {
        self.error(reason.to_string())
    }

    fn expected(&self, expected: &str, found: &JsonNode) -> DocumentError {
        self.error(format!("expected {expected}, found {}", found.kind()))
    }

    fn object<'a>(&self, node: &'a JsonNode) -> Result<&'a [(String, JsonNode)]> {
        match node {
            JsonNode::Object(items) => Ok(items),
            other => Err(self.expected("an object", other)),
        }
    }

    fn text<'a>(&self, node: &'a JsonNode) -> Result<&'a str> {
        match node {
            JsonNode::Text(text) => Ok(text),
            other => Err(self.expected("a string", other)),
        }
    }

    /// One string or a list of at least one.
    fn texts<'a>(&self, node: &'a JsonNode) -> Result<Vec<&'a str>> {
        let texts: Vec<&str> = match node {
            JsonNode::List(items) => {
                items.iter().map(|item| self.text(item)).collect::<Result<_>>()?
            }
            other => vec![self.text(other)?],
        };
        if texts.is_empty() {
            return Err(self.error("the list is empty"));
        }
        Ok(texts)
    }
}

/// What the elements of a document mean.
#[derive(Debug, Clone, Copy)]
struct ParseOptions<'a> {
    kind: DocumentKind<'a>,
    /// Whether `${…}` is a variable: since version 2012-10-17.
    variables: bool,
}

impl PolicyDocument {
    /// Parses and compiles a document.
    ///
    /// # Errors
    /// The element that cannot be evaluated.
    pub fn parse(text: &str, kind: DocumentKind<'_>) -> Result<Self> {
        if text.len() > DOCUMENT_BYTES_MAX {
            return Err(DocumentError::TooLong { bytes: text.len() });
        }
        let root = ElementPath(String::new());
        let node = JsonNode::parse(text)?;
        let (mut variables, mut statements) = (false, None);
        for (name, value) in root.object(&node)? {
            let path = root.child(name);
            match name.as_str() {
                "Version" => {
                    variables = match path.text(value)? {
                        "2012-10-17" => true,
                        "2008-10-17" => false,
                        other => {
                            let expected = "expected \"2012-10-17\" or \"2008-10-17\"";
                            return Err(path.error(format!("{expected}, found {other:?}")));
                        }
                    }
                }
                "Id" => drop(path.text(value)?),
                "Statement" => statements = Some(value),
                _ => return Err(path.error("is not an element of a document")),
            }
        }
        let path = root.child("Statement");
        let options = ParseOptions { kind, variables };
        let nodes = match statements {
            None => return Err(path.error("is missing")),
            Some(JsonNode::List(nodes)) => nodes.as_slice(),
            Some(node) => std::slice::from_ref(node),
        };
        if nodes.is_empty() {
            return Err(path.error("the list is empty"));
        }
        let mut statements: Vec<PolicyStatement> = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let path = path.item(index);
            let statement = options.statement(&path, node)?;
            if statements.iter().any(|other| other.name == statement.name) {
                let reason = format!("{:?} is the Sid of another statement", statement.name);
                return Err(path.child("Sid").error(reason));
            }
            statements.push(statement);
        }
        Ok(Self { statements })
    }

    /// Number of statements.
    pub fn statement_count(&self) -> usize {
        self.statements.len()
    }
}

/// Elements of a statement that come as one of a pair.
#[derive(Default)]
struct StatementNodes<'a> {
    effect: Option<&'a JsonNode>,
    sid: Option<&'a JsonNode>,
    principal: Option<(&'a str, &'a JsonNode)>,
    action: Option<(&'a str, &'a JsonNode)>,
    resource: Option<(&'a str, &'a JsonNode)>,
    condition: Option<&'a JsonNode>,
}

impl<'a> StatementNodes<'a> {
    fn read(path: &ElementPath, node: &'a JsonNode) -> Result<Self> {
        let mut nodes = Self::default();
        for (name, value) in path.object(node)? {
            let pair = match name.as_str() {
                "Sid" => {
                    nodes.sid = Some(value);
                    continue;
                }
                "Effect" => {
                    nodes.effect = Some(value);
                    continue;
                }
                "Condition" => {
                    nodes.condition = Some(value);
                    continue;
                }
                "Principal" | "NotPrincipal" => &mut nodes.principal,
                "Action" | "NotAction" => &mut nodes.action,
                "Resource" | "NotResource" => &mut nodes.resource,
                _ => return Err(path.child(name).error("is not an element of a statement")),
            };
            if let Some((other, _)) = pair.replace((name, value)) {
                return Err(path
                    .child(name)
                    .error(format!("cannot be used together with {other}")));
            }
        }
        Ok(nodes)
    }
}

impl ParseOptions<'_> {
    fn statement(&self, path: &ElementPath, node: &JsonNode) -> Result<PolicyStatement> {
        let nodes = StatementNodes::read(path, node)?;
        let missing = |name: &str| path.child(name).error("is missing");
        let name = match nodes.sid {
            Some(sid) => self.sid(&path.child("Sid"), sid)?,
            None => path.0.clone(),
        };
        let effect_path = path.child("Effect");
        let effect = match effect_path.text(nodes.effect.ok_or_else(|| missing("Effect"))?)? {
            "Allow" => PolicyEffect::Allow,
            "Deny" => PolicyEffect::Deny,
            other => {
                let reason = format!("expected \"Allow\" or \"Deny\", found {other:?}");
                return Err(effect_path.error(reason));
            }
        };
        let principals = match (nodes.principal, self.kind) {
            (None, DocumentKind::Identity) => None,
            (None, _) => return Err(missing("Principal")),
            (Some((name, _)), DocumentKind::Identity) => {
                return Err(path.child(name).error("is not allowed in the policy of an identity"));
            }
            (Some((name, node)), _) => Some(principals(&path.child(name), name, node, effect)?),
        };
        let (name_of_actions, node) = nodes.action.ok_or_else(|| missing("Action"))?;
        let actions = self.actions(&path.child(name_of_actions), name_of_actions, node)?;
        let resources = match (nodes.resource, self.kind) {
            (None, DocumentKind::Trust) => None,
            (None, _) => return Err(missing("Resource")),
            (Some((name, _)), DocumentKind::Trust) => {
                return Err(path
                    .child(name)
                    .error("is not allowed in the policy of a role's trust"));
            }
            (Some((name, node)), _) => Some(self.resources(&path.child(name), name, node)?),
        };
        if let (DocumentKind::Bucket { .. }, Some(resources)) = (self.kind, &resources) {
            check_scopes(&path.child(name_of_actions), effect, &actions, resources)?;
        }
        let conditions = match nodes.condition {
            Some(node) => self.conditions(&path.child("Condition"), node)?,
            None => Vec::new(),
        };
        Ok(PolicyStatement { name, effect, principals, actions, resources, conditions })
    }

    fn sid(&self, path: &ElementPath, node: &JsonNode) -> Result<String> {
        let sid = path.text(node)?;
        let is_alphanumeric = sid.chars().all(|character| character.is_ascii_alphanumeric());
        if self.kind == DocumentKind::Identity && !is_alphanumeric {
            return Err(path.error(format!("expected letters and digits, found {sid:?}")));
        }
        Ok(if sid.is_empty() { path.0.clone() } else { sid.to_owned() })
    }

    fn actions(&self, path: &ElementPath, name: &str, node: &JsonNode) -> Result<ActionSet> {
        let services = match self.kind {
            DocumentKind::Bucket { .. } | DocumentKind::StoredBucket => ActionServices::S3,
            DocumentKind::Identity | DocumentKind::Trust => ActionServices::All,
        };
        ActionSet::parse(name == "NotAction", &path.texts(node)?, services)
            .map_err(|error: ActionError| path.refuse(&error))
    }

    fn resources(&self, path: &ElementPath, name: &str, node: &JsonNode) -> Result<ResourceSet> {
        let mut patterns = Vec::new();
        for text in path.texts(node)? {
            let pattern = ArnPattern::parse(text, self.variables)
                .map_err(|error: ArnError| path.refuse(&error))?;
            if let DocumentKind::Bucket { name } = self.kind
                && !pattern.is_everything()
                && !is_in_bucket(&pattern, text, name, self.variables)
            {
                let expected = format!("expected {S3_ARN_PREFIX}{name} or {S3_ARN_PREFIX}{name}/…");
                return Err(path.error(format!("{text:?} is not in the bucket, {expected}")));
            }
            patterns.push(pattern);
        }
        Ok(ResourceSet { negated: name == "NotResource", patterns })
    }

    fn conditions(&self, path: &ElementPath, node: &JsonNode) -> Result<Vec<Condition>> {
        let mut conditions = Vec::new();
        for (name, block) in path.object(node)? {
            let path = path.child(name);
            let operator = ConditionOperator::parse(name)
                .ok_or_else(|| path.error("is not a condition operator"))?;
            for (key, node) in path.object(block)? {
                let path = path.child(key);
                let key = keys::normalize(key);
                let may_be_foreign =
                    matches!(self.kind, DocumentKind::Identity | DocumentKind::Trust);
                let is_known = keys::is_known(&key) || (may_be_foreign && keys::is_foreign(&key));
                if !is_known {
                    return Err(path.error("is not a condition key"));
                }
                let texts = operands(&path, node)?;
                let operands = Operands::parse(operator.test, &texts, self.variables)
                    .map_err(|error: OperandError| path.refuse(&error))?;
                conditions.push(Condition { operator, key, operands });
            }
        }
        Ok(conditions)
    }
}

/// Operands of a condition: strings, numbers and booleans, one or a list.
fn operands(path: &ElementPath, node: &JsonNode) -> Result<Vec<String>> {
    let one = |node: &JsonNode| match node {
        JsonNode::Text(text) | JsonNode::Scalar(text) => Ok(text.clone()),
        other => Err(path.expected("a string, number or boolean", other)),
    };
    let texts = match node {
        JsonNode::List(nodes) => nodes.iter().map(one).collect::<Result<Vec<_>>>()?,
        other => vec![one(other)?],
    };
    if texts.is_empty() {
        return Err(path.error("the list is empty"));
    }
    Ok(texts)
}

fn principals(
    path: &ElementPath,
    name: &str,
    node: &JsonNode,
    effect: PolicyEffect,
) -> Result<PrincipalSet> {
    let negated = name == "NotPrincipal";
    if negated && effect == PolicyEffect::Allow {
        return Err(path.error("cannot be used with the effect Allow"));
    }
    let mut patterns = Vec::new();
    match node {
        JsonNode::Text(text) if text == "*" => patterns.push(PrincipalPattern::Everyone),
        JsonNode::Text(text) => {
            return Err(path.error(format!("expected \"*\" or an object, found {text:?}")));
        }
        other => {
            for (kind, node) in path.object(other)? {
                let path = path.child(kind);
                for text in path.texts(node)? {
                    let pattern = PrincipalPattern::parse(kind, text)
                        .map_err(|error: PrincipalError| path.refuse(&error))?;
                    patterns.push(pattern);
                }
            }
        }
    }
    if patterns.is_empty() {
        return Err(path.error("names no principal"));
    }
    Ok(PrincipalSet { negated, patterns })
}

/// Whether a pattern may match the bucket or objects in it.
fn is_in_bucket(pattern: &ArnPattern, text: &str, bucket: &str, variables: bool) -> bool {
    let fixed = ["arn", "aws", "s3", "", ""];
    let is_of_s3 =
        fixed.iter().enumerate().all(|(index, segment)| pattern.literal(index) == Some(segment));
    let Some(resource) = text.splitn(SEGMENTS, ':').last().filter(|_| is_of_s3) else {
        return false;
    };
    let bucket_part = match find_outside(resource, '/') {
        Some(at) => resource.get(..at).unwrap_or_default(),
        None => resource,
    };
    let prefix = format!("{S3_ARN_PREFIX}{bucket_part}");
    ArnPattern::parse(&prefix, variables)
        .ok()
        .and_then(|pattern| pattern.widest(SEGMENTS - 1))
        .is_some_and(|glob: Glob| glob.matches(bucket))
}

/// Whether the statement has an action that applies to one of its resources, as S3 requires. An
/// Allow that applies to nothing is accepted, unless it is about the account: it grants nothing.
fn check_scopes(
    path: &ElementPath,
    effect: PolicyEffect,
    actions: &ActionSet,
    resources: &ResourceSet,
) -> Result<()> {
    let (of_bucket, of_object) =
        (actions.has_scope(ActionScope::Bucket), actions.has_scope(ActionScope::Object));
    let names_buckets = resources.negated || resources.patterns.iter().any(may_name_bucket);
    let names_objects = resources.negated || resources.patterns.iter().any(may_name_object);
    let applies = (of_bucket && names_buckets) || (of_object && names_objects);
    let is_harmless = effect == PolicyEffect::Allow && (of_bucket || of_object);
    if applies || is_harmless {
        return Ok(());
    }
    Err(path.error("no action applies to a resource of the statement"))
}

fn resource_of(pattern: &ArnPattern) -> Option<Glob> {
    pattern.widest(SEGMENTS - 1)
}

fn may_name_bucket(pattern: &ArnPattern) -> bool {
    resource_of(pattern).is_none_or(|glob| !glob.has_char('/'))
}

fn may_name_object(pattern: &ArnPattern) -> bool {
    resource_of(pattern).is_none_or(|glob| glob.has_char('/') || glob.has_any())
}

#[cfg(test)]
mod tests;
