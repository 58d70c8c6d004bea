# Computes the patch. Runs in a clean sandbox in which nothing of the agent's is visible but the files of its work tree:
# programs, configuration, git directory, index and objects are the checkout's. A .git in the work tree is never read.
#
# A person waits for it, so every process counts: in the usual case this shell and three times git.
set -eu
umask 022
store=$LW_STORE patch=$LW_PATCH errors=/tmp/legwork-errors left=/tmp/legwork-left
printf '[safe]\n\tdirectory = *\n' > "$GIT_CONFIG_GLOBAL"
# The checkout's own index, in this sandbox's own layer: it knows which files need no second look.
export GIT_DIR=$store GIT_WORK_TREE=$LW_WORK GIT_INDEX_FILE=$store/legwork-index
pristine() { git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.untrackedCache=false \
    -c core.attributesFile=/dev/null -c core.excludesFile=/dev/null -c core.autocrlf=false -c core.safecrlf=false \
    -c core.fileMode=true -c core.symlinks=true -c core.quotePath=true -c submodule.recurse=false \
    -c advice.addEmbeddedRepo=true -c diff.renameLimit=2000 -c gc.auto=0 "$@"; }
[ -z "$LW_MADE" ] || { mkdir -p "$store/info" && printf '%s' "$LW_MADE" > "$store/info/exclude"; }
cd "$LW_WORK"

# Marks what is to stay as in the base, whatever lies there: git does not look at such an entry.
keep() { pristine update-index -z --skip-worktree --stdin; }
# A submodule is an empty directory here, and git would take what was put into it for the submodule's own affair and say
# nothing. A repository that was made there would give a patch that names a commit which nobody has.
keep_submodules() {
    [ "$LW_SUBMODULES" != 0 ] || return 0
    pristine ls-files -s -z | sed -z -n 's/^160000 [^\t]*\t//p' | xargs -0 -r sh -c 'for at do
        [ -d "./$at" ] && [ ! -L "./$at" ] || continue
        printf "%s\0" "$at"
        [ -z "$(ls -A "./$at")" ] || printf "%s is a submodule: what was put into it is left out\n" "$at" >> "$0"
    done' "$left" | keep
}
keep_huge() {
    [ -n "$LW_HUGE_KIB" ] || return 0
    find . -path ./.git -prune -o -type f -size "+${LW_HUGE_KIB}k" -printf '%P\0' > "$errors"
    tr '\0' '\n' < "$errors" | sed 's/$/ is too large and left out/' >> "$left"
    xargs -0 -r git --literal-pathspecs ls-files -z -- < "$errors" | keep
    xargs -0 -r rm -f -- < "$errors"
}
leave_out() {
    : > "$left"
    keep_submodules
    keep_huge
}

stage() {
    pristine add -A --ignore-errors -- . 2> "$errors" || return 1
    [ ! -s "$errors" ] || ! grep -q 'embedded git repository' "$errors"
}
stage_afresh() {
    pristine read-tree "$LW_BASE_TREE"
    leave_out
    stage
}
# What git will not take as it is: repositories inside the work tree (their files count, their .git does not), files that
# nobody may read, and files that do not have the encoding that their attributes claim (then bytes count).
leave_out
if ! stage; then
    find . -mindepth 2 -name .git -prune -exec rm -rf {} + 2> /dev/null || true
    find . -path ./.git -prune -o \( -type d ! -perm -u=rwx -o -type f ! -perm -u=r \) -exec chmod u+rwX {} + \
        2> /dev/null || true
    if ! stage_afresh; then
        mkdir -p "$store/info"
        echo '* -text -eol -ident -filter -working-tree-encoding' > "$store/info/attributes"
        stage_afresh || true
    fi
    [ ! -s "$errors" ] || head -c 4000 "$errors" >&2
fi
[ ! -s "$left" ] || head -c 4000 "$left" >&2
tree=$(pristine write-tree)
printf '%s\n' "$tree"
[ "$tree" != "$LW_BASE_TREE" ] || exit 0

compute() {
    pristine diff-tree -r --raw -p --binary --full-index --no-ext-diff --no-textconv --no-color --submodule=short \
        --src-prefix=a/ --dst-prefix=b/ "$1" "$LW_BASE_TREE" "$tree" > "$patch"
}
# New files, and files whose content alone changed, cannot get into each other's way. All else (renames, deletions, modes,
# a file where a directory was) is believed only if git, from the base and the patch alone, arrives at the same tree.
is_plain() {
    while read -r old new _ _ status; do
        case "$old $new $status" in
            ":100644 100644 M"* | ":100755 100755 M"* | ":000000 100644 A"* | ":000000 100755 A"*) ;;
            ' '*) return 0 ;;
            *) return 1 ;;
        esac
    done < "$patch"
}
holds() {
    # The list before the first empty line is for this script and the host only.
    sed '1,/^$/d' "$patch" > "$patch.alone"
    pristine read-tree "$LW_BASE_TREE"
    pristine apply --cached --whitespace=nowarn "$patch.alone" 2> "$errors" && [ "$(pristine write-tree)" = "$tree" ]
}
compute --find-renames
if ! is_plain && ! holds; then
    compute --no-renames
    holds || { head -c 4000 "$errors" >&2; exit 30; }
fi
