//! Who may do what: roles on repositories, and what a token leaves of them.
//!
//! A person's role comes from grants alone, each for one repository or for all. A token never adds to it: its scope is a
//! ceiling, so a lost token is worth no more than what was put into it. What a caller must not even know of is told from
//! what it may see but not change ([`Denied`]), because the API says 404 to the one and 403 to the other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{RepositoryId, Timestamp, TokenId, Trust, UserId};

/// What a person is to a repository. Each may do what those before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees tasks, logs, patches and recipes.
    Viewer,
    /// Hands tasks over, speaks to them and stops them.
    Runner,
    /// Keeps recipes and secrets, deletes tasks.
    Maintainer,
    /// Says who is what; on all repositories: keeps users and workers, reads the audit log.
    Owner,
}

/// What a call wants to do with a repository or something in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Look.
    View,
    /// Hand over, steer, answer, decide, stop, archive.
    Run,
    /// Change recipes and secrets; delete.
    Configure,
    /// Say who may do what.
    Administer,
}

impl Action {
    /// The least role that may.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::View => Role::Viewer,
            Self::Run => Role::Runner,
            Self::Configure => Role::Maintainer,
            Self::Administer => Role::Owner,
        }
    }
}

/// A person, or a program that acts for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// A short name, unique on the server.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it may do nothing: its tokens and sessions do not open.
    pub disabled_at: Option<Timestamp>,
}

/// A role that a user has on one repository, or on all and on the server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// Who.
    pub user: UserId,
    /// On what; `None`: on everything.
    pub repository: Option<RepositoryId>,
    /// What it is there.
    pub role: Role,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "for", rename_all = "snake_case", deny_unknown_fields)]
pub enum Scope {
    /// To act for its user.
    User {
        /// The most that it may, whatever its user is.
        role: Role,
        /// Only there; `None`: wherever its user may.
        #[serde(default)]
        repository: Option<RepositoryId>,
    },
    /// To run turns, and nothing else.
    Worker,
}

/// An API token as it is on record. The token itself was shown once and is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// For whom it acts; a worker's token: who made it.
    pub user: UserId,
    /// What its owner calls it.
    pub name: String,
    /// What it is good for.
    pub scope: Scope,
    /// For whom it hands tasks over. What comes with an outsider's is an outsider's, whatever the request says.
    #[serde(default)]
    pub trust: Trust,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it does not open.
    pub expires_at: Timestamp,
    /// Since when it does not open because somebody said so.
    pub revoked_at: Option<Timestamp>,
    /// When it was last seen, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    /// Whether it opens at `now`.
    #[must_use]
    pub fn opens(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

/// A repository that the server knows, since a task named it or somebody wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repository {
    /// Its id.
    pub id: RepositoryId,
    /// The URL or path by which tasks name it, as it was given the first time.
    pub url: String,
    /// When it became known.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: UserId,
}

/// The body of `POST /v1/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserDraft {
    /// 1 to 100 bytes without control characters and without a space at its ends, unique on the server.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    pub name: String,
}

/// A user with its roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// The user.
    pub user: User,
    /// What it is, and where.
    pub grants: Vec<Grant>,
}

/// The answer to `GET /v1/me`: who the caller is to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The user for whom it acts.
    pub user: User,
    /// What the user is, and where. A token may leave less of it.
    pub grants: Vec<Grant>,
    /// For whom it hands tasks over, by its token.
    #[serde(default)]
    pub trust: Trust,
    /// What opened the door.
    #[serde(flatten)]
    pub via: crate::Via,
}

/// All users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserList {
    /// By name.
    pub users: Vec<User>,
}

/// The body of a call that gives a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleChoice {
    /// Which.
    pub role: Role,
}

/// Who is what on a repository, beside those who have a role on everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GrantList {
    /// By user.
    pub grants: Vec<Grant>,
}

/// The body of `POST /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenDraft {
    /// What to call it, 1 to 100 bytes without control characters and without a space at its ends.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    pub name: String,
    /// What it shall be good for.
    pub scope: Scope,
    /// For whom it acts; the caller if nobody is named. Only an owner of everything makes tokens for others.
    #[serde(default)]
    pub user: Option<UserId>,
    /// When it ends: within 366 days. In 90 days if nothing is said.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// `outsider`: for a program that hands tasks over for people who are not of the team. All that it creates or speaks to is an
    /// outsider's. It runs tasks at most, whatever its user may.
    #[serde(default, skip_serializing_if = "Trust::is_usual")]
    pub trust: Trust,
}

impl TokenDraft {
    /// Says in one sentence what is wrong with the draft, if anything is.
    ///
    /// # Errors
    /// The sentence, for the person who sent it.
    pub fn validate(&self) -> Result<(), String> {
        match (self.trust, self.scope) {
            (Trust::Outsider, Scope::Worker) => {
                Err("A worker's token hands no tasks over, so it is nobody's: leave its trust out."
                    .to_owned())
            }
            (Trust::Outsider, Scope::User { role, .. }) if role > OUTSIDER_ROLE => {
                Err("An outsider's token runs tasks at most. Take the role runner or viewer.".to_owned())
            }
            (Trust::Member | Trust::Outsider, Scope::User { .. }) | (Trust::Member, Scope::Worker) => Ok(()),
        }
    }
}

/// A token that was just made: the only answer that ever holds what opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The record.
    pub token: Token,
    /// What goes into `Authorization: Bearer`. Keep it safe: it is shown this once.
    pub secret: String,
}

/// A user's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// Oldest first, with those that do not open any more.
    pub tokens: Vec<Token>,
}

/// The body of `POST /v1/links`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkDraft {
    /// Whom it logs in; the caller if nobody is named. Only an owner of everything makes links for others.
    #[serde(default)]
    pub user: Option<UserId>,
}

/// A link that was just made: opened in a browser, it logs its user in, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkMade {
    /// The address. What opens is behind its `#`, which browsers do not send: so no proxy and no log sees it.
    pub url: String,
    /// From when on it does not open.
    pub expires_at: Timestamp,
}

/// The body of `POST /v1/session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionDraft {
    /// What stands behind a link's `#`.
    #[schema(min_length = 1)]
    pub link: String,
}

/// The body of a call that keeps a secret. There is no call that shows one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretDraft {
    /// The value, 8 to 8,192 bytes: a shorter one could not be told from ordinary text.
    #[schema(min_length = 8, max_length = 8192)]
    pub value: String,
}

/// Without the value.
impl std::fmt::Debug for SecretDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretDraft").finish_non_exhaustive()
    }
}

/// The body of `POST /v1/repositories`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryDraft {
    /// The URL or path by which tasks will name it, 1 to 2,048 bytes without control characters.
    #[schema(min_length = 1, max_length = 2048, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub url: String,
}

/// A page of the repositories that the caller sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryList {
    /// By URL.
    pub repositories: Vec<Repository>,
    /// For the next page: pass as `cursor`. `None`: this was the last.
    pub next: Option<String>,
}

/// The most that an outsider's token may.
const OUTSIDER_ROLE: Role = Role::Runner;

/// What a caller may do: a user's grants under a token's ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    grants: Vec<Grant>,
    ceiling: Role,
    only: Option<RepositoryId>,
    trust: Trust,
}

/// Why a caller may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It must not know that there is such a thing.
    Hidden,
    /// It sees the thing and may not do this to it.
    Forbidden {
        /// What it would have to be.
        needs: Role,
    },
}

/// Which tasks and repositories a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    /// All.
    All,
    /// Those of this one repository.
    One(RepositoryId),
    /// Those of the repositories that this user has a grant for.
    Granted(UserId),
    /// None.
    Nothing,
}

impl Access {
    /// A user's grants, whole.
    #[must_use]
    pub const fn whole(grants: Vec<Grant>) -> Self {
        Self { grants, ceiling: Role::Owner, only: None, trust: Trust::Member }
    }

    /// What a token of this scope leaves of the grants. A worker's leaves nothing: its calls are not a user's.
    #[must_use]
    pub fn scoped(grants: Vec<Grant>, scope: Scope) -> Self {
        match scope {
            Scope::User { role, repository } => {
                Self { ceiling: role, only: repository, ..Self::whole(grants) }
            }
            Scope::Worker => Self { ceiling: Role::Viewer, ..Self::whole(Vec::new()) },
        }
    }

    /// The same in the hands of those who are trusted so far.
    #[must_use]
    pub fn lowered_by(self, trust: Trust) -> Self {
        let ceiling = match trust {
            Trust::Member => self.ceiling,
            Trust::Outsider => self.ceiling.min(OUTSIDER_ROLE),
        };
        Self { ceiling, trust: self.trust.lowered_by(trust), ..self }
    }

    /// How far the caller is trusted with what it hands over.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        self.trust
    }

    /// The role on a repository; on `None`, which is what belongs to no repository on record, that of the grants for
    /// everything.
    #[must_use]
    pub fn role(&self, repository: Option<RepositoryId>) -> Option<Role> {
        if self.only.is_some() && self.only != repository {
            return None;
        }
        let here = |grant: &&Grant| grant.repository.is_none() || grant.repository == repository;
        let role = self.grants.iter().filter(here).map(|grant| grant.role).max()?;
        Some(role.min(self.ceiling))
    }

    /// Whether the action may be done there.
    ///
    /// # Errors
    /// [`Denied`], which says what the caller may learn of it.
    pub fn check(&self, action: Action, repository: Option<RepositoryId>) -> Result<(), Denied> {
        match self.role(repository) {
            None => Err(Denied::Hidden),
            Some(role) if role < action.role() => Err(Denied::Forbidden { needs: action.role() }),
            Some(_) => Ok(()),
        }
    }

    /// The best role on anything.
    #[must_use]
    pub fn best(&self) -> Option<Role> {
        let reached = |grant: &&Grant| match (self.only, grant.repository) {
            (Some(only), Some(granted)) => only == granted,
            (None, _) | (_, None) => true,
        };
        let role = self.grants.iter().filter(reached).map(|grant| grant.role).max()?;
        Some(role.min(self.ceiling))
    }

    /// Which tasks and repositories the caller, who is `user`, sees.
    #[must_use]
    pub fn visible(&self, user: UserId) -> Visible {
        match self.only {
            Some(only) if self.role(Some(only)).is_some() => Visible::One(only),
            Some(_) => Visible::Nothing,
            None if self.role(None).is_some() => Visible::All,
            None if self.grants.is_empty() => Visible::Nothing,
            None => Visible::Granted(user),
        }
    }

    /// Whether a token of this scope and trust could do nothing that this caller cannot.
    #[must_use]
    pub fn covers(&self, scope: Scope, trust: Trust) -> bool {
        if trust.lowered_by(self.trust) != trust {
            return false;
        }
        match scope {
            Scope::User { role, repository } => {
                role <= self.ceiling && (self.only.is_none() || self.only == repository)
            }
            Scope::Worker => self.role(None) == Some(Role::Owner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RepositoryId = RepositoryId::from_u128(1);
    const TWO: RepositoryId = RepositoryId::from_u128(2);
    const USER: UserId = UserId::from_u128(7);

    fn grant(repository: Option<RepositoryId>, role: Role) -> Grant {
        Grant { user: USER, repository, role }
    }

    fn scope(role: Role, repository: Option<RepositoryId>) -> Scope {
        Scope::User { role, repository }
    }

    #[test]
    fn the_better_of_two_grants_holds() {
        let access = Access::whole(vec![grant(None, Role::Viewer), grant(Some(ONE), Role::Maintainer)]);
        assert_eq!(access.role(Some(ONE)), Some(Role::Maintainer));
        assert_eq!(access.role(Some(TWO)), Some(Role::Viewer));
        assert_eq!(access.role(None), Some(Role::Viewer));
        assert_eq!(access.check(Action::Run, Some(TWO)), Err(Denied::Forbidden { needs: Role::Runner }));
    }

    #[test]
    fn what_no_grant_names_is_hidden() {
        let access = Access::whole(vec![grant(Some(ONE), Role::Owner)]);
        assert_eq!(access.check(Action::View, Some(TWO)), Err(Denied::Hidden));
        assert_eq!(access.check(Action::View, None), Err(Denied::Hidden));
        assert_eq!(access.visible(USER), Visible::Granted(USER));
        assert_eq!(Access::whole(Vec::new()).visible(USER), Visible::Nothing);
    }

    #[test]
    fn a_scope_takes_away_and_never_adds() {
        let viewer = vec![grant(None, Role::Viewer)];
        assert_eq!(Access::scoped(viewer, scope(Role::Owner, None)).role(None), Some(Role::Viewer));
        let owner = vec![grant(None, Role::Owner)];
        let access = Access::scoped(owner, scope(Role::Runner, Some(ONE)));
        assert_eq!((access.role(Some(ONE)), access.role(Some(TWO))), (Some(Role::Runner), None));
        assert_eq!(access.role(None), None);
        assert_eq!(access.visible(USER), Visible::One(ONE));
        assert_eq!(access.best(), Some(Role::Runner));
        let foreign = Access::scoped(vec![grant(Some(TWO), Role::Owner)], scope(Role::Owner, Some(ONE)));
        assert_eq!((foreign.best(), foreign.visible(USER)), (None, Visible::Nothing));
    }

    #[test]
    fn a_token_cannot_make_a_stronger_one() {
        let owner = || vec![grant(None, Role::Owner)];
        let weak = Access::scoped(owner(), scope(Role::Runner, Some(ONE)));
        assert!(weak.covers(scope(Role::Viewer, Some(ONE)), Trust::Member));
        assert!(!weak.covers(scope(Role::Maintainer, Some(ONE)), Trust::Member));
        assert!(!weak.covers(scope(Role::Runner, None), Trust::Member));
        assert!(!weak.covers(Scope::Worker, Trust::Member));
        assert!(Access::whole(owner()).covers(Scope::Worker, Trust::Member));
    }

    #[test]
    fn an_outsiders_token_runs_tasks_at_most_and_makes_no_members() {
        let access = Access::whole(vec![grant(None, Role::Owner)]).lowered_by(Trust::Outsider);
        assert_eq!((access.role(None), access.trust()), (Some(Role::Runner), Trust::Outsider));
        assert_eq!(access.clone().lowered_by(Trust::Member), access, "trust never rises");
        assert!(access.covers(scope(Role::Runner, None), Trust::Outsider));
        assert!(!access.covers(scope(Role::Viewer, None), Trust::Member));
        assert!(!access.covers(scope(Role::Owner, None), Trust::Outsider));
        assert!(!access.covers(Scope::Worker, Trust::Outsider));
        let viewer = Access::whole(vec![grant(None, Role::Viewer)]).lowered_by(Trust::Outsider);
        assert_eq!(viewer.role(None), Some(Role::Viewer), "nobody gets a role by it");
    }

    #[test]
    fn an_outsiders_token_is_drafted_for_running_tasks() {
        let draft =
            |scope, trust| TokenDraft { name: "bot".into(), scope, user: None, expires_at: None, trust };
        assert!(draft(scope(Role::Runner, None), Trust::Outsider).validate().is_ok());
        assert!(draft(scope(Role::Owner, None), Trust::Member).validate().is_ok());
        assert!(draft(scope(Role::Maintainer, None), Trust::Outsider).validate().is_err());
        assert!(draft(Scope::Worker, Trust::Outsider).validate().is_err());
    }

    #[test]
    fn a_worker_is_no_user() {
        let access = Access::scoped(vec![grant(None, Role::Owner)], Scope::Worker);
        assert_eq!((access.role(None), access.best()), (None, None));
    }
}
