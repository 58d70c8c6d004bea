//! Users, roles, repositories and times as people name them.

use legwork_client::Client;
use legwork_domain::{RepositoryId, Role, Timestamp, User};

use crate::exit::Trouble;

/// Most pages of repositories that are looked through for a URL.
const PAGES_MAX: usize = 100;

/// A role's word, as in JSON.
pub(crate) const fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Runner => "runner",
        Role::Maintainer => "maintainer",
        Role::Owner => "owner",
    }
}

/// The role of that word.
pub(crate) fn role(text: &str) -> Result<Role, String> {
    let roles = [Role::Viewer, Role::Runner, Role::Maintainer, Role::Owner];
    let found = roles.into_iter().find(|role| word(*role) == text);
    found.ok_or_else(|| "it is viewer, runner, maintainer or owner".to_owned())
}

/// The user of that name or id.
pub(crate) async fn user(wanted: &str, client: &Client) -> anyhow::Result<User> {
    let users = client.users().await?.users;
    let found = users.into_iter().find(|user| user.name == wanted || user.id.to_string() == wanted);
    let missing = || Trouble::usage(format!("There is no user {wanted:?}."), "List them: legwork user ls");
    Ok(found.ok_or_else(missing)?)
}

/// The repository of that URL or id.
pub(crate) async fn repository(
    wanted: Option<&str>,
    client: &Client,
) -> anyhow::Result<Option<RepositoryId>> {
    let Some(wanted) = wanted else { return Ok(None) };
    if let Ok(id) = wanted.parse() {
        return Ok(Some(id));
    }
    if let Some(id) = known(wanted, client).await? {
        return Ok(Some(id));
    }
    let what = format!("The server knows no repository {wanted}.");
    Err(Trouble::usage(what, "It is known from its first task on, or by: legwork admin repository URL")
        .into())
}

/// The repository that tasks name so, if the server knows it.
pub(crate) async fn known(url: &str, client: &Client) -> anyhow::Result<Option<RepositoryId>> {
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = client.repositories(cursor.as_deref()).await?;
        if let Some(found) = page.repositories.into_iter().find(|repository| repository.url == url) {
            return Ok(Some(found.id));
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(None)
}

/// The present, cut to what a server keeps.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}

/// `40s`, `5m`, `3h`, `12d`.
pub(crate) fn span(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
