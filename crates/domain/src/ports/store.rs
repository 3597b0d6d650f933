//! What each plane may read and write, one trait a plane.
//!
//! Each trait becomes a database role of its own. Every read takes the tenant from the authenticated
//! context. Every write that another plane must see moves the feed's counter row in the same
//! transaction, so that the feed is gapless. One conformance suite runs against every implementation.

mod budgets;
mod calls;
mod imports;
mod kills;
mod marks;
mod revocations;
mod standing;

pub use budgets::BudgetStore;
pub use calls::{Accepted, CallRoom, CallRow, CallStore};
pub use imports::{Brought, ImportEnd, ImportSeen};
pub use kills::{Kill, Killed};
pub use marks::{FeedMark, Recalled};
pub use revocations::{REDEEMED_WITHIN, Revocation, Whose};
pub use standing::{Registered, Standing};

use super::Boxed;
use crate::{
    budget::Spent,
    chain::{
        Attempt, AttemptState, Chain, ChainState, Client, Family, Flow, FlowOutcome, FlowStep, Generation,
    },
    clock::Timestamp,
    connection::{Connection, ConnectionHealth, StaticSecret},
    grant::Grant,
    id::{
        AttemptId, CallId, ChainId, ClientId, ConnectionId, ContextId, EnrolmentId, FamilyId, FlowId,
        GrantId, InstallationId, KeeperId, OwnerId, PrincipalId, RevocationId, TaskId, TenantId, TicketId,
        WakeId,
    },
    import::{Import, ImportProgress},
    principal::{Agent, Binding, Enrolment, EnrolmentCode, Human, Tenant},
    sealed::{SealContext, Wrapped},
    task::{Task, WakeNote},
    ticket::Ticket,
    tool::Name,
};
use serde::{Deserialize, Serialize};

/// A store's answer.
pub type Stored<'a, T> = Boxed<'a, Result<T, StoreError>>;

/// What a store can fail with. No SQL text, no value, no path comes through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or it is full, or it is shutting down. Nothing was written.
    #[error("the store cannot be reached or is full")]
    Unavailable,
    /// The answer of a write was lost: it may or may not have been written. Read before it is tried again.
    #[error("the store's answer was lost: what was asked for may or may not have been written")]
    Unknown,
    /// A row breaks a rule of uniqueness.
    #[error("`{0}` exists already")]
    Exists(&'static str),
    /// A row points to another that is not there, in its own tenant, or that was removed.
    #[error("what the `{0}` points to does not exist")]
    Missing(&'static str),
    /// A row cannot be read: the database is damaged or from a newer version.
    #[error("a row of `{0}` cannot be read: the database is damaged or from a newer version")]
    Corrupt(&'static str),
}

/// What the installation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Made at the first start.
    pub id: InstallationId,
    /// Raised when a rollback is detected.
    pub era: u64,
}

/// A manifest that was added to the built-in ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolRow {
    /// The tenant.
    pub tenant: TenantId,
    /// The tool's name.
    pub name: Name,
    /// The manifest's text, as it was checked.
    pub manifest: String,
    /// When it was added.
    pub added_at: Timestamp,
}

/// Control's part: everything that a human arranges, and no secret.
pub trait ControlStore: Send + Sync {
    /// The first start: tenant, human and agent, once. Does nothing where a tenant exists.
    fn bootstrap(&self, tenant: Tenant, human: Human, agent: Agent) -> Stored<'_, ()>;
    /// The tenant of that name.
    fn tenant(&self, name: Name) -> Stored<'_, Option<Tenant>>;
    /// The humans.
    fn humans(&self, tenant: TenantId) -> Stored<'_, Vec<Human>>;
    /// Adds a tool, or puts a newer manifest in its place.
    fn put_tool(&self, tool: ToolRow) -> Stored<'_, ()>;
    /// The added tools.
    fn tools(&self, tenant: TenantId) -> Stored<'_, Vec<ToolRow>>;
    /// Adds an agent, or writes its row anew.
    fn put_agent(&self, agent: Agent) -> Stored<'_, ()>;
    /// The agents.
    fn agents(&self, tenant: TenantId) -> Stored<'_, Vec<Agent>>;
    /// Adds a task, or writes its row anew. A task that ended stays ended.
    fn put_task(&self, task: Task) -> Stored<'_, ()>;
    /// The tasks, newest first.
    fn tasks(&self, tenant: TenantId) -> Stored<'_, Vec<Task>>;
    /// The wakes of a task, newest first, at most `limit`.
    fn wakes(&self, tenant: TenantId, task: TaskId, limit: u32) -> Stored<'_, Vec<WakeNote>>;
    /// Adds a grant, or writes its row anew. A grant that was taken back stays so.
    fn put_grant(&self, grant: Grant) -> Stored<'_, ()>;
    /// The grants.
    fn grants(&self, tenant: TenantId) -> Stored<'_, Vec<Grant>>;
    /// Keeps an enrolment code.
    fn put_enrolment_code(&self, code: EnrolmentCode) -> Stored<'_, ()>;
    /// The enrolments of an agent.
    fn enrolments(&self, tenant: TenantId, agent: PrincipalId) -> Stored<'_, Vec<Enrolment>>;
    /// The connections that were not removed.
    fn connections(&self, tenant: TenantId) -> Stored<'_, Vec<Connection>>;
    /// How each connection is.
    fn health(&self, tenant: TenantId) -> Stored<'_, Vec<ConnectionHealth>>;
    /// What each grant with a budget has spent, what is reserved for running gateways included.
    fn spent(&self, tenant: TenantId) -> Stored<'_, Vec<(GrantId, Spent)>>;
    /// The open tickets, oldest first.
    fn tickets(&self, tenant: TenantId) -> Stored<'_, Vec<Ticket>>;
    /// Our registrations at a provider, without what is sealed in them being of any use here.
    fn clients(&self, tenant: TenantId, provider: Name) -> Stored<'_, Vec<Client>>;
    /// The context of a tenant, tool and provider: `fresh` where there is none yet.
    fn context(
        &self,
        tenant: TenantId,
        tool: Name,
        provider: Name,
        fresh: ContextId,
    ) -> Stored<'_, ContextId>;
    /// A flow, for the CLI that waits for it.
    fn flow(&self, tenant: TenantId, flow: FlowId) -> Stored<'_, Option<Flow>>;
    /// Those of these imports that there are, for the CLI that waits for them.
    fn imports(&self, tenant: TenantId, imports: Vec<FlowId>) -> Stored<'_, Vec<Import>>;
}

/// An entity of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "kebab-case")]
pub enum EntityId {
    /// An agent.
    Agent(PrincipalId),
    /// A task.
    Task(TaskId),
    /// A grant.
    Grant(GrantId),
    /// A connection.
    Connection(ConnectionId),
    /// An enrolment.
    Enrolment(EnrolmentId),
    /// The tools of the tenant, as a whole.
    Tools,
    /// A kill that is wider than one connection: everything is to be read anew.
    Everything,
}

/// One step of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Gapless, from 1.
    pub number: u64,
    /// The tenant.
    pub tenant: TenantId,
    /// What changed.
    pub entity: EntityId,
}

/// An entity as the gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "row", rename_all = "kebab-case")]
pub enum Entity {
    /// An agent.
    Agent(Agent),
    /// A task.
    Task(Task),
    /// A grant.
    Grant(Grant),
    /// A connection.
    Connection(Connection),
    /// An enrolment.
    Enrolment(Enrolment),
    /// The added tools.
    Tools(Vec<ToolRow>),
}

/// The gateway's part: reads the directory, writes nothing.
pub trait DirectoryStore: Send + Sync {
    /// Everything, and the feed's number that it belongs to, in one read transaction.
    fn snapshot(&self) -> Stored<'_, (u64, Vec<Entity>)>;
    /// The changes after a number, in order, at most `limit`.
    fn changes(&self, after: u64, limit: u32) -> Stored<'_, Vec<Change>>;
    /// One entity as it is now; none where it is gone.
    fn entity(&self, tenant: TenantId, entity: EntityId) -> Stored<'_, Option<Entity>>;
    /// Answers as soon as the feed may have passed `after`, or after `within_millis`. Only saves a poll.
    fn changed(&self, after: u64, within_millis: u64) -> Boxed<'_, ()>;
}

/// Who holds a chain: every write of a holder names it, and does nothing where it no longer fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The tenant.
    pub tenant: TenantId,
    /// The chain.
    pub chain: ChainId,
    /// The fence that the claim drew.
    pub fence: u64,
    /// The holder.
    pub owner: OwnerId,
}

/// A chain as whoever claims it saw it: where any of it is no longer so, there is no claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The era of the installation.
    pub era: u64,
    /// The chain's fence.
    pub fence: u64,
    /// The chain's current family.
    pub family: FamilyId,
    /// The generation at its head.
    pub head: u64,
}

/// A chain with all that a refresh needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainView {
    /// The chain.
    pub chain: Chain,
    /// Its current family.
    pub family: Family,
    /// The generation at the family's head.
    pub head: Generation,
    /// Our registration.
    pub client: Client,
    /// The connections that live on it.
    pub connections: Vec<ConnectionId>,
}

/// How a holder leaves a chain when the head does not move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The attempt and how far it came, where there was one.
    pub attempt: Option<(AttemptId, AttemptState)>,
    /// Whether this is said because no answer came: then it is refused where one has come since.
    pub unanswered: bool,
    /// The chain's new state.
    pub state: ChainState,
    /// When its timer next acts; none where it does not.
    pub due_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// When this failure was, if it was one.
    pub failed_at: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// The ticket to raise for each connection of the chain that has none open. In the same transaction.
    pub ticket: Option<Ticket>,
}

/// A new head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHead {
    /// The attempt that brought it, or that was refused and made room for an unused answer.
    pub attempt: AttemptId,
    /// The attempt whose unused answer it is, where the head that was presented was refused: then that one is
    /// committed, and `attempt` is refused.
    pub adopts: Option<AttemptId>,
    /// The generation: one above the head that was presented.
    pub generation: Generation,
    /// When the timer next acts.
    pub due_at: Option<Timestamp>,
    /// When the refresh was.
    pub refreshed_at: Timestamp,
}

/// A head that the database lost, as an answer that was kept elsewhere brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healed {
    /// The fence as it was seen.
    pub fence: u64,
    /// The presentation that was answered; the newest of its family.
    pub attempt: Attempt,
    /// What it brought: one above the generation that was presented.
    pub generation: Generation,
    /// When the timer next acts.
    pub due_at: Option<Timestamp>,
    /// When the refresh was.
    pub refreshed_at: Timestamp,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Committed {
    /// The head moved.
    Moved,
    /// Fence or owner no longer fit, or the head is another. The answer is kept.
    Lost,
    /// The chain's last connection was removed. The answer is kept, for revocation only.
    Removed,
}

/// What a finished flow or a static secret makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConnection {
    /// The connection: new, or the one that is reconnected (same id).
    pub connection: Connection,
    /// For tokens: the chain (new or the one that exists for the account), the family, its first generation.
    pub tokens: Option<(Chain, Family, Generation)>,
    /// For static secrets.
    pub secret: Option<StaticSecret>,
}

/// The keeper's part: everything that holds or makes a credential, and the rows that it vouches for.
pub trait KeeperStore: Send + Sync {
    /// The installation; `fresh` where there is none yet.
    fn installation(&self, fresh: InstallationId) -> Stored<'_, Installation>;
    /// How the history stands, at one moment.
    fn standing(&self) -> Stored<'_, Standing>;
    /// Registers a keeper, if it is not. One with an empty log (`fresh`) has nothing to compare, and knows this history
    /// only where it is empty as well; the log of any other is yet to be compared. Where it is the only one (`alone`),
    /// others are forgotten.
    fn register(&self, keeper: KeeperId, fresh: bool, alone: bool) -> Stored<'_, ()>;
    /// Notes that a keeper's log was held against the database in this era; `false` where it is no longer that era.
    fn compared(&self, keeper: KeeperId, era: u64) -> Stored<'_, bool>;
    /// Leaves a chain that a keeper's log contradicts to a human, whoever holds it, also while nothing is claimed; `false`,
    /// and nothing written, where its fence is no longer as it was seen. Whoever held it writes nothing more.
    fn quarantine(&self, seen: (TenantId, ChainId, u64), reason: String, ticket: Ticket) -> Stored<'_, bool>;
    /// Moves a head that the database lost, upwards and within the chain's family, whoever holds the chain, also while nothing
    /// is claimed. `false`, and nothing moved, where the fence, the family or the attempt's era is no longer that one, the head
    /// is above what was presented, or nobody lives on the chain. Whoever held it writes nothing more.
    fn heal(&self, healed: Healed) -> Stored<'_, bool>;
    /// Ends a quarantine that was begun for this reason: the chain is healthy, its timer is due then, and its tickets are
    /// settled; `false`, and nothing written, where its fence is no longer as it was seen, or it is there for another reason.
    fn release(
        &self,
        seen: (TenantId, ChainId, u64),
        reason: String,
        due_at: Timestamp,
        now: Timestamp,
    ) -> Stored<'_, bool>;
    /// Notes that a keeper that knows this history, or a human, vouched for another.
    fn vouch(&self, keeper: KeeperId) -> Stored<'_, ()>;
    /// Forgets a keeper that never comes back; `false`, and nothing written, where its row is no longer as it was `seen`, or
    /// the era is another.
    fn forget(&self, seen: Registered, era: u64) -> Stored<'_, bool>;
    /// Raises the era by one; `false`, and nothing written, where it is no longer `from`.
    fn raise_era(&self, from: u64) -> Stored<'_, bool>;
    /// The last move of the feed's counter row: what a plane remembers, to know this history again.
    fn last_change(&self) -> Stored<'_, FeedMark>;
    /// How the history stands, and whether it holds that move: both of one moment.
    fn standing_and_recall(&self, mark: FeedMark) -> Stored<'_, (Standing, Recalled)>;
    /// Whether the history of this store holds that move.
    fn recall(&self, mark: FeedMark) -> Stored<'_, Recalled> {
        Box::pin(async move { Ok(self.standing_and_recall(mark).await?.1) })
    }
    /// Now, by the store's own clock; none where that is this machine's.
    fn clock(&self) -> Stored<'_, Option<Timestamp>>;

    /// Chains whose timer is due, soonest first, at most `limit`. Claimed, latched and quarantined ones are not, nor those that
    /// nobody lives on.
    fn due(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<(TenantId, ChainId, Timestamp)>>;
    /// The soonest timer.
    fn next_due(&self) -> Stored<'_, Option<Timestamp>>;
    /// Every chain that stands behind that one by tenant and id, in that order, at most `limit`, of whatever state.
    fn chains(&self, after: Option<(TenantId, ChainId)>, limit: u32) -> Stored<'_, Vec<(TenantId, ChainId)>>;
    /// One chain with all that a refresh needs.
    fn chain(&self, tenant: TenantId, chain: ChainId) -> Stored<'_, Option<ChainView>>;
    /// The generations that are stored of a chain, of every family that it had, newest first, at most `limit`.
    fn generations(&self, tenant: TenantId, chain: ChainId, limit: u32) -> Stored<'_, Vec<Generation>>;
    /// The chain of an account, if one exists.
    fn chain_of_account(
        &self,
        tenant: TenantId,
        issuer: String,
        client: ClientId,
        account: String,
    ) -> Stored<'_, Option<Chain>>;
    /// Claims: fence + 1 and the owner, where all is still as it was `seen`, the state still one of `from`, and the
    /// chain has a connection left that nobody removed or killed. None where any of that no longer holds. The state
    /// becomes `refreshing`.
    fn claim(
        &self,
        tenant: TenantId,
        chain: ChainId,
        seen: Seen,
        owner: OwnerId,
        from: Vec<ChainState>,
    ) -> Stored<'_, Option<Claim>>;
    /// Makes the intent of a first presentation durable (synced) and moves the feed's counter row; `false`, and nothing
    /// written, where the claim is lost, the head is another, or there is another attempt at the same generation that was
    /// not settled as not presented.
    fn intend(&self, claim: Claim, attempt: Attempt) -> Stored<'_, bool>;
    /// Makes the intent of the one retry durable: only where the only other attempt at the generation that was not
    /// settled as not presented is this one, and it is `uncertain`. Otherwise as [`KeeperStore::intend`].
    fn intend_again(&self, claim: Claim, attempt: Attempt, of: AttemptId) -> Stored<'_, bool>;
    /// Keeps a sealed raw answer by the attempt's id alone: whoever holds the claim now, and where the attempt's own row
    /// is gone as well (a database that was put back). The first answer of an attempt stays.
    fn answer(&self, tenant: TenantId, attempt: AttemptId, answer: (Wrapped, SealContext)) -> Stored<'_, ()>;
    /// The answers that are kept of a chain, by the attempts that they answer, whether those are known or not.
    fn answers(
        &self,
        tenant: TenantId,
        chain: ChainId,
    ) -> Stored<'_, Vec<(AttemptId, (Wrapped, SealContext))>>;
    /// Moves the feed's counter row, then reads kills, then moves the head if claim and head still fit. Closes open tickets of
    /// the chain's connections and releases the claim.
    fn commit(&self, claim: Claim, head: NewHead) -> Stored<'_, Committed>;
    /// Leaves the chain without moving the head and releases the claim; `false` where it was lost.
    fn settle(&self, claim: Claim, settlement: Settlement) -> Stored<'_, bool>;
    /// Every attempt at a head that is neither committed, refused, not presented nor uncertain: what a crash left, and
    /// answers that came late.
    fn open_attempts(&self) -> Stored<'_, Vec<Attempt>>;
    /// Every attempt at this generation of a family or a later one, of whatever state, the oldest first.
    fn attempts(&self, tenant: TenantId, family: FamilyId, from: u64) -> Stored<'_, Vec<Attempt>>;
    /// Says of an attempt, whoever holds the claim now, that it was no presentation: its owner was overtaken, and knows.
    /// Only an `intended` or `uncertain` one, and only while nothing else was presented of its generation; `false` where
    /// that is not so.
    fn withdraw(&self, tenant: TenantId, attempt: AttemptId) -> Stored<'_, bool>;
    /// One attempt.
    fn attempt(&self, tenant: TenantId, attempt: AttemptId) -> Stored<'_, Option<Attempt>>;
    /// Chains in state `refreshing` with their fence and owner: a dead process may have left them.
    fn claimed(&self) -> Stored<'_, Vec<Chain>>;
    /// Sets a chain's timer to now where it is later: an early refresh was asked for.
    fn hasten(&self, tenant: TenantId, chain: ChainId, now: Timestamp) -> Stored<'_, ()>;

    /// Stores our registration.
    fn put_client(&self, client: Client) -> Stored<'_, ()>;
    /// Our registration.
    fn client(&self, tenant: TenantId, client: ClientId) -> Stored<'_, Option<Client>>;
    /// Stores a flow that begins.
    fn put_flow(&self, flow: Flow) -> Stored<'_, ()>;
    /// The flow of a `state`.
    fn flow_by_state(&self, state_sha256: String) -> Stored<'_, Option<Flow>>;
    /// Takes a step of a flow, once: `false` where it is no longer at `from`. Keeps the answer, if one is given.
    fn advance_flow(
        &self,
        tenant: TenantId,
        flow: FlowId,
        from: FlowStep,
        to: FlowStep,
        answer: Option<(Wrapped, SealContext)>,
    ) -> Stored<'_, bool>;
    /// Ends a flow with its outcome and, in the same transaction, what it makes.
    fn end_flow(
        &self,
        tenant: TenantId,
        flow: FlowId,
        outcome: FlowOutcome,
        makes: Option<NewConnection>,
    ) -> Stored<'_, ()>;
    /// Flows that hold an answer and have not ended: what a crash left.
    fn open_flows(&self) -> Stored<'_, Vec<Flow>>;
    /// Whether this flow or import has ended, with its answer in its row or as a connection ([`Flow::is_read`]); of one that
    /// is not here, `false`.
    fn has_read_flow(&self, tenant: TenantId, flow: FlowId) -> Stored<'_, bool>;
    /// Keeps refresh tokens that are brought in, all in one transaction, and says of each what became of it. One that
    /// failed before it was presented gives way to whoever brings it anew; under another registration than before, so does
    /// one that waits, or that was refused ([`Import::gives_way_to`]).
    fn put_imports(&self, imports: Vec<Import>) -> Stored<'_, Vec<Brought>>;
    /// One import.
    fn import(&self, tenant: TenantId, import: FlowId) -> Stored<'_, Option<Import>>;
    /// Imports that have not ended, that no kill ended, and whose time has come, soonest first, at most `limit`.
    fn due_imports(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<Import>>;
    /// The soonest time of one of them.
    fn next_import(&self) -> Stored<'_, Option<Timestamp>>;
    /// Takes an import on from where it was seen, once; `false`, and nothing written, where it is no longer there. Keeps the
    /// answer, if one is given; one that is set back to `begun` has none. Another attempt under `redeeming` is a
    /// presentation: the first begins only at `begun`, the one retry only after it, each only in the era in which the
    /// import was brought and while no kill ended it; it moves the feed's counter row.
    fn advance_import(
        &self,
        tenant: TenantId,
        import: FlowId,
        seen: ImportSeen,
        to: ImportProgress,
        answer: Option<(Wrapped, SealContext)>,
    ) -> Stored<'_, bool>;
    /// Ends an import once from where it was seen, with its outcome and, in the same transaction, what it makes; one that a
    /// kill ended makes nothing. To end it again with the same outcome is no error; with another one, or from elsewhere, it
    /// is [`StoreError::Missing`].
    fn end_import(
        &self,
        tenant: TenantId,
        import: FlowId,
        seen: ImportSeen,
        outcome: FlowOutcome,
        end: ImportEnd,
    ) -> Stored<'_, ()>;
    /// Makes a connection, or puts a new secret under an existing one, outside a flow. Closes its open tickets.
    fn put_connection(&self, makes: NewConnection) -> Stored<'_, ()>;
    /// A connection that was not removed.
    fn connection(&self, tenant: TenantId, connection: ConnectionId) -> Stored<'_, Option<Connection>>;
    /// The newest static secret of a connection.
    fn static_secret(&self, tenant: TenantId, connection: ConnectionId) -> Stored<'_, Option<StaticSecret>>;
    /// The static secrets that are stored of a connection, newest first, at most `limit`.
    fn static_secrets(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        limit: u32,
    ) -> Stored<'_, Vec<StaticSecret>>;
    /// Marks a connection removed, which is a kill of it, and deletes its secrets; a chain's only with its last
    /// connection. A token of a chain whose seal names a revocation endpoint becomes a [`Revocation`].
    fn remove_connection(&self, tenant: TenantId, connection: ConnectionId, at: Timestamp) -> Stored<'_, ()>;
    /// Ends everything in a scope that is there now, durably; answers the kill's place in the order of the feed's moves.
    /// What is connected afterwards lives.
    fn kill(&self, kill: Kill, at: Timestamp) -> Stored<'_, u64>;
    /// The kills after that place, in order, at most `limit`; of one scope only the last.
    fn kills(&self, after: u64, limit: u32) -> Stored<'_, Vec<Killed>>;
    /// Takes the secrets of what kills ended, of at most `limit` chains, `limit` connections and `limit` imports, and answers
    /// that came to a chain after its last connection was removed: what can be revoked becomes a [`Revocation`], the rest is
    /// deleted. Answers how many there were.
    fn clear_killed(&self, now: Timestamp, limit: u32) -> Stored<'_, u32>;
    /// Keeps a token that is to be revoked at its provider. The same id twice is one.
    fn put_revocation(&self, revocation: Revocation) -> Stored<'_, ()>;
    /// The revocations that may be tried by now, the first to be tried first, at most `limit`.
    fn revocations(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<Revocation>>;
    /// Notes a try that the provider did not confirm; `false`, and nothing written, where it was not the next one.
    fn postpone_revocation(
        &self,
        tenant: TenantId,
        revocation: RevocationId,
        tries: u32,
        not_before: Timestamp,
    ) -> Stored<'_, bool>;
    /// Whether somebody may live on what the revocation of such a token ends: a provider may end every token of the account
    /// under the registration with it. So it asks for whoever lives on this chain, or under the same registered id, in whatever
    /// tenant and by whatever provider's name, on one of the same account. Only one tool's names tell two accounts apart: what
    /// another tool lives on may be the same, and so may an account that nobody could name. Flows that may still bring tokens
    /// under that registration by `now` (until they end; [`REDEEMED_WITHIN`] longer where a code is being redeemed), and imports
    /// that wait there, are somebody's as well; so is a chain of which a log knows a family that this store does not.
    fn may_be_lived_on(&self, whose: Whose, now: Timestamp) -> Stored<'_, bool>;
    /// Deletes a token that its provider confirmed to be revoked, or that is given up.
    fn confirm_revocation(&self, tenant: TenantId, revocation: RevocationId) -> Stored<'_, ()>;
    /// Notes that a mandate for a call is acted on; `false`, and nothing written, where it was before, by whichever keeper. What
    /// ended before `forget_before` is forgotten.
    fn spend_mandate(
        &self,
        tenant: TenantId,
        call: CallId,
        not_after: Timestamp,
        forget_before: Timestamp,
    ) -> Stored<'_, bool>;
    /// Raises a ticket for a connection unless one of its kind is open; answers the one that is.
    fn raise(&self, ticket: Ticket) -> Stored<'_, TicketId>;

    /// An agent.
    fn agent(&self, tenant: TenantId, agent: PrincipalId) -> Stored<'_, Option<Agent>>;
    /// A task.
    fn task(&self, tenant: TenantId, task: TaskId) -> Stored<'_, Option<Task>>;
    /// A grant.
    fn grant(&self, tenant: TenantId, grant: GrantId) -> Stored<'_, Option<Grant>>;
    /// The added tools, for their probes.
    fn tools(&self, tenant: TenantId) -> Stored<'_, Vec<ToolRow>>;
    /// The enrolment of a binding, in any tenant.
    fn enrolment(&self, binding: Binding) -> Stored<'_, Option<Enrolment>>;
    /// An enrolment code, still unused.
    fn enrolment_code(&self, code_sha256: String) -> Stored<'_, Option<EnrolmentCode>>;
    /// Uses a code up and stores the enrolment, in one transaction; `false` where the code was used meanwhile.
    fn enrol(&self, code_sha256: String, enrolment: Enrolment) -> Stored<'_, bool>;
    /// Notes a wake, for people.
    fn put_wake(&self, wake: WakeNote) -> Stored<'_, ()>;
    /// Notes a wake's end.
    fn end_wake(&self, tenant: TenantId, wake: WakeId, at: Timestamp) -> Stored<'_, ()>;
    /// Notes the end of every wake that lasts by its note: whoever began them is no more.
    fn end_all_wakes(&self, at: Timestamp) -> Stored<'_, ()>;
    /// Forgets the notes of a task's wakes that were over before `before`, but for the `keep` newest of the task.
    fn prune_wakes(&self, tenant: TenantId, task: TaskId, keep: u32, before: Timestamp) -> Stored<'_, ()>;

    /// Families with their heads, to hold against the anchor log.
    fn heads(&self) -> Stored<'_, Vec<(TenantId, FamilyId, u64)>>;
}

/// A signed head of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// The sequence number of the last record.
    pub seq: u64,
    /// SHA-256 of that record's line, hexadecimal.
    pub hash: String,
    /// Ed25519 over number, hash and time, base64url.
    pub signature: String,
    /// When it was signed.
    pub at: Timestamp,
}

/// The ledger's part: its signed head, so that a cut tail or an older copy shows.
pub trait LedgerStore: Send + Sync {
    /// Keeps a head, unless a later one is there.
    fn put_head(&self, head: LedgerHead) -> Stored<'_, ()>;
    /// The last head.
    fn head(&self) -> Stored<'_, Option<LedgerHead>>;
}
