/// What a repository is called, without a login that stands in its URL: `https://user:token@host/a` is `https://host/a`. Over
/// HTTP any user is taken out, since tokens are written as one; over ssh the user is part of the address and only a password
/// goes.
#[must_use]
pub fn without_login(repository: &str) -> String {
    let Some((scheme, rest)) = repository.split_once("://") else { return repository.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((user, host)) = rest[..end].rsplit_once('@') else { return repository.to_owned() };
    let (path, user) = (&rest[end..], user.split(':').next().unwrap_or_default());
    let is_http = scheme.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("http"));
    if is_http || user.is_empty() {
        return format!("{scheme}://{host}{path}");
    }
    format!("{scheme}://{user}@{host}{path}")
}

/// Refuses a URL with a login in it: whatever names a repository is kept and shown.
///
/// # Errors
/// A sentence for the person who sent it. It does not repeat the URL.
pub fn check_no_login(repository: &str) -> Result<(), String> {
    if without_login(repository) == repository {
        return Ok(());
    }
    Err("The repository's URL holds a user or password, which would be kept and shown with it. Nothing was stored. Name the \
         repository without what stands before the @, and give the worker's git what opens it: a credential helper, or an \
         ssh key."
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_a_repository_is_no_part_of_its_name() {
        for (given, name) in [
            ("https://me:hunter2@h.example/a.git", "https://h.example/a.git"),
            ("HTTPS://token@h.example:8443/a", "HTTPS://h.example:8443/a"),
            ("http://me:p@ss@h.example", "http://h.example"),
            ("https://me:hunter2@h.example?a=b@c", "https://h.example?a=b@c"),
            ("ssh://git:hunter2@h.example:22/a", "ssh://git@h.example:22/a"),
            ("git://:hunter2@h.example/a", "git://h.example/a"),
        ] {
            assert_eq!(without_login(given), name);
            let refused = check_no_login(given).unwrap_err();
            assert!(!refused.contains("hunter2") && refused.contains("credential"), "{refused}");
        }
        for plain in [
            "/srv/a@b/c",
            "ssh://git@h.example/a",
            "git@h.example:a/b",
            "https://h.example/a@b",
            "https://h.example/?mail=a@b",
            "file:///srv/a",
        ] {
            assert_eq!(without_login(plain), plain);
            assert_eq!(check_no_login(plain), Ok(()));
        }
    }
}
