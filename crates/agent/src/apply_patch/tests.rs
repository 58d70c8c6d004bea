use proptest::prelude::*;

use super::*;

/// Applies `patch` to a folder that has `files`, and gives the text and the folder's files after it.
fn applied(files: &[(&str, &[u8])], patch: &str) -> (Result<String, String>, Vec<(String, String)>) {
    let dir = tempfile::tempdir().unwrap();
    for (path, contents) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }
    let root = format!("{}/", dir.path().display());
    let text = run_in(dir.path(), patch).map_err(|error| error.to_string().replace(&root, ""));
    let mut after = Vec::new();
    list(dir.path(), &root, &mut after);
    after.sort();
    (text, after)
}

fn list(dir: &Path, root: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, root, found);
        } else {
            let name = path.display().to_string().replace(root, "");
            found.push((name, std::fs::read(&path).unwrap().escape_ascii().to_string()));
        }
    }
}

/// The contents of `a` after an update with `body`, or the error.
fn updated(before: &str, body: &str) -> String {
    let patch = format!("*** Begin Patch\n*** Update File: a\n{body}\n*** End Patch");
    match applied(&[("a", before.as_bytes())], &patch) {
        (Ok(_), after) => after.into_iter().map(|(_, contents)| contents).collect(),
        (Err(error), _) => error,
    }
}

#[test]
fn adds_updates_moves_and_deletes() {
    let patch = "*** Begin Patch\n*** Delete File: gone\n*** Add File: new/deep\n+one\n+\n*** Update File: old\n*** Move to: moved/here\n@@\n-x\n+y\n*** End Patch\n";
    let (text, after) = applied(&[("gone", b"1"), ("old", b"x\n"), ("moved/here", b"there")], patch);
    assert_eq!(text.unwrap(), "Success. Updated the following files:\nA new/deep\nM moved/here\nD gone\n");
    insta::assert_debug_snapshot!(after, @r#"
    [
        (
            "moved/here",
            "y\\n",
        ),
        (
            "new/deep",
            "one\\n\\n",
        ),
    ]
    "#);
}

#[test]
fn what_came_before_a_failing_hunk_stays() {
    let patch = "*** Begin Patch\n*** Add File: kept\n+1\n*** Update File: none\n@@\n-x\n+y\n*** End Patch";
    let (text, after) = applied(&[], patch);
    assert_eq!(
        text.unwrap_err(),
        "Failed to read file to update none: No such file or directory (os error 2)"
    );
    assert_eq!(after, [("kept".to_owned(), "1\\n".to_owned())]);
}

#[test]
fn chunks_are_found_in_order_and_by_context() {
    assert_eq!(updated("a\nb\na\nb\n", "@@\n-b\n+1\n@@\n-b\n+2"), "a\\n1\\na\\n2\\n");
    assert_eq!(updated("x\nb\ny\nb\n", "@@ y\n-b\n+1"), "x\\nb\\ny\\n1\\n");
    assert_eq!(updated("c\nm\nv\nd\nm\nv\n", "@@ d\n@@ m\n-v\n+w"), "c\\nm\\nv\\nd\\nm\\nw\\n");
    assert_eq!(updated("a\nb\nc\n", "@@\n-c\n+C\n@@\n-a\n+A"), "Failed to find expected lines in a:\na");
    assert_eq!(updated("a\n", "@@ zz\n-a\n+b"), "Failed to find context 'zz' in a");
    assert_eq!(updated("a\nb\n", "-a\n+A"), "A\\nb\\n", "the first chunk needs no @@");
}

#[test]
fn kept_lines_stay_as_the_file_has_them() {
    assert_eq!(updated("  a  \nb\n", "@@\n a\n-b\n+X"), "  a  \\nX\\n");
    assert_eq!(
        updated("one\r\ntwo\nthree\r\nfour\n", "@@\n one\n two\n-three\n+3\n four"),
        "one\\r\\ntwo\\n3\\r\\nfour\\n"
    );
    assert_eq!(updated("a\r\nb", "@@\n-a\n+A"), "A\\r\\nb\\r\\n");
    assert_eq!(updated("a\rb\nc\n", "@@\n-c\n+N"), "a\\rb\\nN\\r");
}

#[test]
fn pure_additions_go_to_the_end() {
    assert_eq!(updated("a\nb\nc\n", "@@ a\n+X"), "a\\nb\\nc\\nX\\n");
    assert_eq!(updated("a\n\n", "@@\n+X"), "a\\n\\nX\\n");
    assert_eq!(updated("", "@@\n+X"), "X\\n");
    assert_eq!(updated("a", "+X"), "a\\nX\\n");
}

#[test]
fn the_end_of_file_marker_anchors() {
    assert_eq!(updated("a\nb\na\n", "@@\n-a\n+X\n*** End of File"), "a\\nb\\nX\\n");
    assert_eq!(updated("a\nb\n", "@@\n-a\n+X\n*** End of File"), "Failed to find expected lines in a:\na");
    assert_eq!(
        updated("a\nb\n", "@@\n-b\n+B\n*** End of File\n@@\n-b\n+X\n*** End of File"),
        "Failed to find expected lines in a:\nb"
    );
}

#[test]
fn an_empty_last_line_may_stand_for_the_final_newline() {
    assert_eq!(updated("a\nb\n", "@@\n-b\n+X\n"), "a\\nX\\n");
    assert_eq!(updated("a\nb\n\n", "@@\n b\n+c\n"), "a\\nb\\nc\\n\\n");
    assert_eq!(updated("a\nb\n", "@@\n b\n-\n+X"), "a\\nb\\nX\\n");
}

#[test]
fn envelopes_are_read_as_models_write_them() {
    let body = "*** Begin Patch\n*** Add File: a\n+1\n*** End Patch";
    for patch in [
        format!("  {body}  \n"),
        format!("<<'EOF'\n{body}\nEOF\n"),
        format!("<<EOF\n{body}\nEOF"),
        body.replace('\n', "\r\n"),
        body.replace("*** Add", "   *** Add").replace("a\n", "a  \n"),
        body.replace("*** Add", "*** Environment ID: x\n*** Add"),
    ] {
        let (text, after) = applied(&[], &patch);
        assert_eq!(text.unwrap(), "Success. Updated the following files:\nA a\n", "{patch}");
        assert_eq!(after, [("a".to_owned(), "1\\n".to_owned())]);
    }
}

#[test]
fn wrong_patches_are_refused_with_the_reason() {
    let said = |patch: &str| applied(&[], patch).0.unwrap_err();
    let within = |body: &str| said(&format!("*** Begin Patch\n{body}\n*** End Patch"));
    let said = [
        said(""),
        said("*** Begin Patch\n*** Add File: a\n+1"),
        said("*** Begin Patch\n*** End Patch"),
        within("*** Frobnicate File: a"),
        within("*** Update File: a"),
        within("*** Update File: a\n@@ x"),
        within("*** Update File: a\n@@\n*** Delete File: b"),
        within("*** Update File: a\n-1\nzzz"),
        within("*** Update File: a\nzzz"),
        within("*** Add File: a\n+1\n\n+2"),
        within("*** Update File: a\n*** End of File"),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    Invalid patch: The first line of the patch must be '*** Begin Patch'
    Invalid patch: The last line of the patch must be '*** End Patch'
    No files were modified.
    Invalid patch hunk on line 2: '*** Frobnicate File: a' is not a valid hunk header. Valid hunk headers: '*** Add File: {path}', '*** Delete File: {path}', '*** Update File: {path}'
    Invalid patch hunk on line 2: Update file hunk for path 'a' is empty
    Invalid patch hunk on line 4: Update hunk does not contain any lines
    Invalid patch hunk on line 4: Unexpected line found in update hunk: '*** Delete File: b'. Every line should start with ' ' (context line), '+' (added line), or '-' (removed line)
    Invalid patch hunk on line 4: Expected update hunk to start with a @@ context marker, got: 'zzz'
    Invalid patch hunk on line 3: Unexpected line found in update hunk: 'zzz'. Every line should start with ' ' (context line), '+' (added line), or '-' (removed line)
    Invalid patch hunk on line 4: '' is not a valid hunk header. Valid hunk headers: '*** Add File: {path}', '*** Delete File: {path}', '*** Update File: {path}'
    Invalid patch hunk on line 2: Update file hunk for path 'a' is empty
    ");
}

#[test]
fn contents_are_bytes() {
    let patch = "*** Begin Patch\n*** Update File: a\n@@\n-b\n+X\n*** End Patch";
    let (_, after) = applied(&[("a", b"\xff\xfe\nb  \n\x00")], patch);
    assert_eq!(after, [("a".to_owned(), "\\xff\\xfe\\nX\\n\\x00\\n".to_owned())]);
}

#[cfg(unix)]
#[test]
fn a_moved_file_keeps_its_mode_and_a_move_onto_itself_keeps_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "x\n").unwrap();
    std::fs::set_permissions(dir.path().join("a"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let step = |to: &str, from: &str| {
        format!("*** Begin Patch\n*** Update File: {from}\n*** Move to: {to}\n x\n*** End Patch")
    };
    run_in(dir.path(), &step("a", "a")).unwrap();
    run_in(dir.path(), &step("b/c", "a")).unwrap();
    let mode = std::fs::metadata(dir.path().join("b/c")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

/// A patch that turns `before` into `after`: one chunk with all lines, or one for each changed line with its neighbours.
fn patch_between(before: &[String], after: &[String]) -> String {
    let mut patch = "*** Begin Patch\n*** Update File: a\n@@\n".to_owned();
    let common = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    for line in &before[..common] {
        patch.push_str(&format!(" {line}\n"));
    }
    for line in &before[common..] {
        patch.push_str(&format!("-{line}\n"));
    }
    for line in &after[common..] {
        patch.push_str(&format!("+{line}\n"));
    }
    patch + "*** End Patch\n"
}

proptest! {
    #[test]
    fn a_patch_between_two_texts_gives_the_second(
        before in prop::collection::vec("[a-c ]{0,3}", 1..12),
        after in prop::collection::vec("[a-c ]{0,3}", 0..12),
        ending in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let whole = |lines: &[String]| lines.iter().map(|line| format!("{line}{ending}")).collect::<String>();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), whole(&before)).unwrap();
        run_in(dir.path(), &patch_between(&before, &after)).unwrap();
        prop_assert_eq!(std::fs::read_to_string(dir.path().join("a")).unwrap(), whole(&after));
    }

    #[test]
    fn any_text_is_read_without_a_panic(patch in "(\\*\\*\\* (Begin Patch|End Patch|Add File: a|Update File: a|Delete File: a|Move to: b|End of File)|@@ ?a?|[-+ ]a?|b|\r|<<EOF|EOF|\n){0,20}") {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "a\n\na\n").unwrap();
        let _ = run_in(dir.path(), &format!("*** Begin Patch\n{patch}\n*** End Patch"));
    }
}
