//! What went wrong with the API server enters; a sentence with place, cause and fix leaves, and the kind of failure,
//! by which the next step is chosen.

use std::fmt;
use std::time::Duration;

/// The kinds that ask for different steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// There is no cluster, or the way into it cannot be read: no request was made.
    Setup,
    /// Who we are is not believed (401).
    Credentials,
    /// What we ask for is not allowed (403).
    Permission,
    /// What we ask for is not there (404).
    Absent,
    /// The version to go on from is not there any more, or not there yet: normal, list again.
    Expired,
    /// The server has too much to do (429).
    Busy,
    /// The server says that it is out of order (5xx and whatever else has no meaning here).
    Broken,
    /// What it says cannot be read.
    Nonsense,
    /// It cannot be reached, or the connection was cut.
    Unreachable,
    /// It does not answer.
    Silent,
}

/// One failure. Its text is a sentence for the person who runs the agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The kind.
    pub kind: Kind,
    /// What was being done, and where.
    pub place: String,
    /// What the other side, or the system, said.
    pub cause: String,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// One without a wish of the server.
    pub fn new(kind: Kind, place: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            kind,
            place: place.into(),
            cause: cause.into(),
            retry_after: None,
        }
    }

    /// True when time does not heal it: a person has to change something.
    pub fn needs_a_person(&self) -> bool {
        matches!(self.kind, Kind::Setup | Kind::Credentials | Kind::Permission)
    }

    fn fix(&self) -> &'static str {
        match self.kind {
            Kind::Setup => {
                "set `enrich.kubernetes.kubeconfig` to a kubeconfig file, or run as a pod with a service account token, \
                 or set `enrich.kubernetes.source: none` to ship without labels"
            }
            Kind::Credentials => {
                "the token or certificate is refused: check that the service account still exists and that its token \
                 is mounted, or renew the credentials in the kubeconfig"
            }
            Kind::Permission => {
                "allow the agent's service account to get, list and watch pods and namespaces (ClusterRole and \
                 ClusterRoleBinding `longshore` in deploy/kubernetes/rbac.yaml)"
            }
            Kind::Absent => "check that the address is that of a Kubernetes API server",
            Kind::Expired | Kind::Busy => "nothing to do, it is tried again",
            Kind::Broken | Kind::Nonsense => {
                "it is tried again; if it lasts, look at the API server and at proxies before it"
            }
            Kind::Unreachable | Kind::Silent => {
                "it is tried again; if it lasts, check that this node reaches the API server (address, firewall, \
                 network policy, DNS, CA)"
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; fix: {}", self.place, self.cause, self.fix())
    }
}

impl std::error::Error for Failure {}
