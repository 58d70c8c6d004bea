//! The nouns and rules of a task: what is queued, run, recorded and shown.
//!
//! Everything here is pure: no IO, no async, no clock, no randomness. Ids and times are made by the callers that
//! own a clock. The types derive serde and *are* the bodies of the HTTP API and the rows of the event log, so there is
//! one shape of each thing from the database to the terminal; `schema/*.json` is generated from them and guards it.

mod access;
mod assignment;
mod audit;
mod budget;
mod check;
mod day;
mod ended;
mod environment;
mod event;
mod evidence;
mod extra;
mod id;
mod invariant;
mod item;
mod lifecycle;
mod limits;
mod listing;
mod login;
mod message;
mod network;
mod patch;
mod queue;
mod secret;
mod task;
mod time;
mod turn;
mod view;
mod webhook;

pub use access::{
    Access, Action, Denied, Grant, GrantList, LinkDraft, LinkMade, Me, Repository, RepositoryDraft,
    RepositoryList, Role, RoleChoice, Scope, SecretDraft, SessionDraft, Token, TokenDraft, TokenList,
    TokenMade, User, UserDraft, UserList, UserView, Visible,
};
pub use assignment::{
    Accepted, Assignment, Bounds, Directive, EventBatch, Finish, LeaseRequest, NewEvent, Pins,
};
pub use audit::{Actor, AuditEntry, AuditFault, AuditPage, AuditVerdict, Via};
pub use budget::{
    Allowance, Budget, BudgetList, Period, Reservation, Reserved, Spender, Spending, UsageBy, UsageReport,
    UsageRow,
};
pub use check::{Check, CheckOrigin, CheckRun, Judgement, Verdict};
pub use day::Day;
pub use ended::{Ended, Failure, Outcome};
pub use environment::{
    APPROVE_BYTES_MAX, APPROVE_MAX, Audience, DEFAULT_ENVIRONMENT, Environment, EnvironmentDraft,
    EnvironmentList, Resources, StoredEnvironment,
};
pub use event::{Context, ContextChange, Event, EventKind};
pub use evidence::{Proof, TestClaim};
pub use extra::{EXTRA_REPOSITORIES_MAX, ExtraRepository, LaidRepository};
pub use id::{
    AttemptId, BlobId, DeliveryId, EnvironmentId, IdError, ItemId, LeaseId, MachineId, MessageId,
    RepositoryId, TaskId, TokenId, TurnId, UserId, WebhookId, WorkerId,
};
pub use invariant::{Invariant, LogCheck, StreamCheck, Violation};
pub use item::{
    Author, Change, ChangeKind, CommandRun, Item, ItemBody, ItemStatus, Level, Phase, PlanStep,
    PlanStepStatus,
};
pub use lifecycle::{Retry, RetryFrom, TITLE_BYTES_MAX, TaskChange};
pub use limits::{Limit, Limits, Precision, Usage};
pub use listing::{Archived, CheckCount, ListChange, Standing, TaskList, TaskQuery, TaskRow, TaskState};
pub use login::{check_no_login, without_login};
pub use message::{
    Decision, FollowUp, ForkDraft, IMAGES_MAX, Message, MessageBody, Reply, Steer, check_words,
};
pub use network::{
    AllowedHost, AllowedMethods, Connection, CustomPolicy, HOST_BYTES_MAX, HOSTS_MAX, NetworkPolicy, Passage,
    Preset, Way, least_policy,
};
pub use patch::{DiffStat, Patch, Saved};
pub use queue::{Hold, QueuePlace, TurnView, WorkerList, WorkerRecord};
pub use secret::{HandedSecret, SECRET_USES_MAX, SecretPhase, SecretUse, SecretValue};
pub use task::{
    Attempt, Fork, Kind, LABEL_BYTES_MAX, LABELS_MAX, LocalChanges, NewTask, PROMPT_BYTES_MAX, Priority,
    Source, Task, Trust, title_of,
};
pub use time::Timestamp;
pub use turn::{Lease, Refused, State, TRIES_MAX, Transition, Turn, Waiting};
pub use view::{Artifact, ArtifactList, AttemptView, Problem, SecretAt, TaskView};
pub use webhook::{
    Delivery, DeliveryList, DeliveryState, Links, Subject, Tidings, Topic, WEBHOOK_OVERLAP_MS_MAX,
    WEBHOOK_URL_BYTES_MAX, Webhook, WebhookChange, WebhookCreated, WebhookList, WebhookRequest,
    WebhookRotation,
};
