# Makes or moves the checkout. Runs in a clean sandbox that shows the source's git directory read-only.
#
# STORE is a bare repository beside the work tree. It alone holds the objects, and the work tree's own repository borrows
# them: so what an agent does to its .git can never reach the objects and the index that its patch is computed with.
set -eu
umask 022
store=$LW_STORE work=$LW_WORK
say() { printf '%s %s\n' "$1" "$2"; }
stop() { printf '%s\n' "$2" >&2; exit "$1"; }
# The source belongs to whoever owns it on the host; here that is nobody we know.
printf '[safe]\n\tdirectory = *\n' > "$GIT_CONFIG_GLOBAL"
pristine() { git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.attributesFile=/dev/null \
    -c submodule.recurse=false -c protocol.allow=never -c protocol.file.allow=always -c gc.auto=0 \
    -c maintenance.auto=false -c advice.detachedHead=false "$@"; }
in_store() { pristine --git-dir="$store" "$@"; }
in_work() { pristine -C "$work" "$@"; }

if [ ! -d "$store" ]; then
    pristine init -q --bare --template= --object-format="$LW_FORMAT" "$store"
    pristine init -q --template= --object-format="$LW_FORMAT" "$work"
    mkdir -p "$work/.git/objects/info"
    printf '%s\n' "$store/objects" > "$work/.git/objects/info/alternates"
    in_work config gc.auto 0
    in_work config maintenance.auto false
fi
if [ -n "$LW_SOURCE" ]; then
    set -- '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
    [ "${#LW_OBJECT}" -lt 40 ] || set -- "$@" "$LW_OBJECT"
    in_store fetch -q --prune --update-shallow --no-auto-gc --no-write-fetch-head --no-recurse-submodules \
        --upload-pack='git -c safe.directory=* upload-pack' -- "$LW_SOURCE" "$@" || stop 20 'fetch failed'
fi

if [ "${#LW_OBJECT}" -lt 40 ]; then
    found=$(in_store rev-parse --disambiguate="$LW_OBJECT" | in_store cat-file --batch-check='%(objecttype) %(objectname)' \
        | sed -n 's/^commit //p')
    case $(printf '%s' "$found" | grep -c .) in
        0) stop 21 "no commit starts with $LW_OBJECT" ;;
        1) LW_OBJECT=$found ;;
        *) stop 22 "$found" ;;
    esac
fi
commit=$(in_store rev-parse --verify --quiet --end-of-options "$LW_OBJECT$LW_STEPS^{commit}") \
    || stop 21 "$LW_OBJECT$LW_STEPS leads to no commit"
say asked "$commit"

if [ -n "$LW_TREE" ]; then
    # The user's work tree as one more commit; only read, with our own index, configuration and object store.
    index=/tmp/legwork-include
    outside() { GIT_INDEX_FILE=$index GIT_WORK_TREE=$LW_TREE in_store -c core.excludesFile="$LW_EXCLUDE" "$@"; }
    cd "$LW_TREE"
    outside read-tree "$commit"
    if [ -f "$LW_INDEX" ]; then
        cp "$LW_INDEX" /tmp/legwork-user-index
        GIT_INDEX_FILE=/tmp/legwork-user-index GIT_WORK_TREE=$LW_TREE in_store ls-files -s -t -z \
            > /tmp/legwork-user-files || stop 23 'the index could not be read'
        # What a sparse checkout has left out is not deleted.
        sed -z -n 's/^S [^\t]*\t//p' /tmp/legwork-user-files | outside update-index -z --skip-worktree --stdin \
            || stop 23 'the sparse checkout could not be read'
        grep -z -v -e '^S ' -e '^. 160000' /tmp/legwork-user-files | sed -z 's/^[^\t]*\t//' \
            | outside update-index -z --add --remove --stdin
    fi
    outside -c advice.addEmbeddedRepo=false add -A || stop 23 'the changes could not be read'
    tree=$(outside write-tree)
    if [ "$tree" != "$(in_store rev-parse "$commit^{tree}")" ]; then
        at="$(in_store show -s --format=%ct "$commit") +0000"
        commit=$(GIT_AUTHOR_NAME=Legwork GIT_AUTHOR_EMAIL=legwork@localhost GIT_COMMITTER_NAME=Legwork \
            GIT_COMMITTER_EMAIL=legwork@localhost GIT_AUTHOR_DATE=$at GIT_COMMITTER_DATE=$at \
            in_store commit-tree -p "$commit" -m 'Uncommitted changes' "$tree")
        in_store update-ref refs/legwork/base "$commit"
    fi
fi

cd "$work"
[ ! -f "$store/shallow" ] || cp "$store/shallow" .git/shallow
in_work fetch -q --prune --update-shallow --no-auto-gc --no-write-fetch-head --no-recurse-submodules \
    -- "$store" '+refs/heads/*:refs/remotes/origin/*' '+refs/tags/*:refs/tags/*'
in_work config remote.origin.url "$LW_ORIGIN"
in_work config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
in_work update-ref --no-deref HEAD "$commit"
in_work for-each-ref --format='delete %(refname)' refs/heads | in_work update-ref --stdin
touch -d '5 seconds ago' /tmp/legwork-mark
in_work reset -q --hard "$commit"
if [ -n "$LW_BRANCH" ]; then
    in_work update-ref "refs/heads/$LW_BRANCH" "$commit"
    in_work symbolic-ref HEAD "refs/heads/$LW_BRANCH"
fi
# Git trusts a file's times only if they are older than its index. Files from the past make every later look at an
# unchanged tree a matter of stat calls, and an edit within this very second is still seen.
find . -path ./.git -prune -o ! -type d -newer /tmp/legwork-mark -print0 \
    | xargs -0 -r touch -h -c -d '10 seconds ago' --
in_work update-index -q --refresh || true
cp .git/index "$store/legwork-index"

say commit "$commit"
say tree "$(in_store rev-parse "$commit^{tree}")"
say submodules "$(in_work ls-files -s | grep -c '^160000' || true)"
say lfs "$(in_work ls-files -z ':(attr:filter=lfs)' | tr -cd '\0' | wc -c)"
[ -f "$store/shallow" ] && say shallow 1 || say shallow 0
recipe=$(in_store ls-tree "$commit" .legwork/environment.toml | sed -n 's/^100[67][45][45] blob \([0-9a-f]*\)\t.*/\1/p')
if [ -n "$recipe" ]; then
    size=$(in_store cat-file -s "$recipe")
    say recipe "$size"
    in_store cat-file blob "$recipe" | head -c "$LW_RECIPE_MAX"
else
    say recipe none
fi
