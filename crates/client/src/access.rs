//! Who may do what: users, roles, tokens, repositories, the audit log.

use legwork_domain::{
    AuditPage, AuditVerdict, EnvironmentDraft, EnvironmentId, EnvironmentList, GrantList, LinkDraft,
    LinkMade, Me, Repository, RepositoryDraft, RepositoryId, RepositoryList, Role, RoleChoice, SecretDraft,
    StoredEnvironment, Token, TokenDraft, TokenId, TokenList, TokenMade, User, UserDraft, UserId, UserList,
    UserView,
};
use reqwest::header::IF_MATCH;

use crate::{Client, Error, escaped};

impl Client {
    /// Who the caller is to the server.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    pub async fn me(&self) -> Result<Me, Error> {
        self.transport.json("ask who one is", self.transport.get("/v1/me")).await
    }

    /// All users.
    ///
    /// # Errors
    /// [`Error::Refused`] with `forbidden` to all but owners.
    pub async fn users(&self) -> Result<UserList, Error> {
        self.transport.json("list users", self.transport.get("/v1/users")).await
    }

    /// A user with its roles.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn user(&self, user: UserId) -> Result<UserView, Error> {
        self.transport.json("read a user", self.transport.get(&format!("/v1/users/{user}"))).await
    }

    /// Makes a user, who may do nothing yet.
    ///
    /// # Errors
    /// [`Error::Refused`] with `conflict` if the name is taken.
    pub async fn create_user(&self, draft: &UserDraft) -> Result<User, Error> {
        self.transport.json("create a user", self.transport.post("/v1/users").json(draft)).await
    }

    /// Shuts a user out. A second call changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn disable_user(&self, user: UserId) -> Result<User, Error> {
        self.transport.json("disable a user", self.transport.post(&format!("/v1/users/{user}/disable"))).await
    }

    /// Lets a user in again. A second call changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn enable_user(&self, user: UserId) -> Result<User, Error> {
        self.transport.json("enable a user", self.transport.post(&format!("/v1/users/{user}/enable"))).await
    }

    /// Gives a user a role on one repository, or on everything.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn grant(
        &self,
        user: UserId,
        repository: Option<RepositoryId>,
        role: Role,
    ) -> Result<(), Error> {
        let request = self.transport.put(&grant_path(user, repository)).json(&RoleChoice { role });
        self.transport.empty("give a role", request).await
    }

    /// Takes a user's role on one repository, or on everything, away.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn ungrant(&self, user: UserId, repository: Option<RepositoryId>) -> Result<(), Error> {
        self.transport.empty("take a role away", self.transport.delete(&grant_path(user, repository))).await
    }

    /// Who is what on a repository.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `forbidden`.
    pub async fn grants(&self, repository: RepositoryId) -> Result<GrantList, Error> {
        let path = format!("/v1/repositories/{repository}/grants");
        self.transport.json("list roles", self.transport.get(&path)).await
    }

    /// Makes a token; the answer is the only one that holds what opens.
    ///
    /// # Errors
    /// [`Error::Refused`] with `forbidden` if it would be good for more than the caller is.
    pub async fn create_token(&self, draft: &TokenDraft) -> Result<TokenMade, Error> {
        self.transport.json("create a token", self.transport.post("/v1/tokens").json(draft)).await
    }

    /// A user's tokens; the caller's own if nobody is named.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn tokens(&self, user: Option<UserId>) -> Result<TokenList, Error> {
        let path = user.map_or_else(|| "/v1/tokens".to_owned(), |user| format!("/v1/tokens?user={user}"));
        self.transport.json("list tokens", self.transport.get(&path)).await
    }

    /// Ends a token at once. A second call changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn revoke_token(&self, token: TokenId) -> Result<Token, Error> {
        self.transport.json("revoke a token", self.transport.delete(&format!("/v1/tokens/{token}"))).await
    }

    /// Makes a link that logs a user in with a browser, once; the caller if nobody is named.
    ///
    /// # Errors
    /// [`Error::Refused`] with `forbidden` if the caller's token may less than its user.
    pub async fn create_link(&self, draft: &LinkDraft) -> Result<LinkMade, Error> {
        self.transport.json("make a link", self.transport.post("/v1/links").json(draft)).await
    }

    /// Writes a repository down. One that is known is given back.
    ///
    /// # Errors
    /// [`Error::Refused`] with `forbidden` to all but owners of everything.
    pub async fn create_repository(&self, draft: &RepositoryDraft) -> Result<Repository, Error> {
        self.transport.json("create a repository", self.transport.post("/v1/repositories").json(draft)).await
    }

    /// A page of the repositories that the caller sees; `cursor` is the last page's `next`.
    ///
    /// # Errors
    /// As every call.
    pub async fn repositories(&self, cursor: Option<&str>) -> Result<RepositoryList, Error> {
        let path = format!("/v1/repositories?cursor={}", escaped(cursor.unwrap_or_default()));
        self.transport.json("list repositories", self.transport.get(&path)).await
    }

    /// Has the repository's next tasks make their set-ups anew.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `forbidden`.
    pub async fn reset_repository(&self, repository: RepositoryId) -> Result<(), Error> {
        let path = format!("/v1/repositories/{repository}/reset");
        self.transport.empty("reset what is kept of a repository", self.transport.post(&path)).await
    }

    /// Stores a recipe for a repository.
    ///
    /// # Errors
    /// [`Error::Refused`] with `conflict` if the name is taken.
    pub async fn create_environment(
        &self,
        repository: RepositoryId,
        draft: &EnvironmentDraft,
    ) -> Result<StoredEnvironment, Error> {
        let request = self.transport.post(&format!("/v1/repositories/{repository}/environments")).json(draft);
        self.transport.json("create an environment", request).await
    }

    /// A repository's recipes.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn environments(&self, repository: RepositoryId) -> Result<EnvironmentList, Error> {
        let path = format!("/v1/repositories/{repository}/environments");
        self.transport.json("list environments", self.transport.get(&path)).await
    }

    /// A recipe in its newest version, or in an earlier one.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn environment(
        &self,
        id: EnvironmentId,
        version: Option<u64>,
    ) -> Result<StoredEnvironment, Error> {
        let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
        self.transport
            .json("read an environment", self.transport.get(&format!("/v1/environments/{id}{query}")))
            .await
    }

    /// Makes a recipe's next version out of version `seen`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `other_version` if there is a newer one.
    pub async fn change_environment(
        &self,
        id: EnvironmentId,
        seen: u64,
        draft: &EnvironmentDraft,
    ) -> Result<StoredEnvironment, Error> {
        let request = self.transport.put(&format!("/v1/environments/{id}"));
        self.transport
            .json("change an environment", request.header(IF_MATCH, format!("\"{seen}\"")).json(draft))
            .await
    }

    /// Removes a recipe and its secrets. A second call finds none.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn remove_environment(&self, id: EnvironmentId) -> Result<(), Error> {
        self.transport
            .empty("remove an environment", self.transport.delete(&format!("/v1/environments/{id}")))
            .await
    }

    /// Keeps a secret for a recipe; nothing shows it again.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid` if name or value cannot be taken.
    pub async fn put_secret(&self, id: EnvironmentId, name: &str, draft: &SecretDraft) -> Result<(), Error> {
        let path = format!("/v1/environments/{id}/secrets/{}", escaped(name));
        self.transport.empty("keep a secret", self.transport.put(&path).json(draft)).await
    }

    /// Forgets a secret. A second call changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn remove_secret(&self, id: EnvironmentId, name: &str) -> Result<(), Error> {
        let path = format!("/v1/environments/{id}/secrets/{}", escaped(name));
        self.transport.empty("forget a secret", self.transport.delete(&path)).await
    }

    /// A page of the audit log, newest first; `before` is the last page's `next`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `forbidden` to all but owners of everything.
    pub async fn audit(&self, before: Option<u64>) -> Result<AuditPage, Error> {
        let path = before.map_or_else(|| "/v1/audit".to_owned(), |seq| format!("/v1/audit?before={seq}"));
        self.transport.json("read the audit log", self.transport.get(&path)).await
    }

    /// Checks that no entry of the audit log was changed, taken out or put in.
    ///
    /// # Errors
    /// [`Error::Refused`] with `forbidden` to all but owners of everything.
    pub async fn verify_audit(&self) -> Result<AuditVerdict, Error> {
        self.transport.json("check the audit log", self.transport.get("/v1/audit/verdict")).await
    }
}

fn grant_path(user: UserId, repository: Option<RepositoryId>) -> String {
    repository.map_or_else(
        || format!("/v1/users/{user}/role"),
        |repository| format!("/v1/repositories/{repository}/grants/{user}"),
    )
}
