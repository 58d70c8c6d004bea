# Puts a patch onto the checkout of a clean sandbox, through the index, so that what a set-up script did to the files of
# the work tree neither hinders it nor stays in a file that the patch changes.
set -eu
umask 022
store=$LW_STORE
printf '[safe]\n\tdirectory = *\n' > "$GIT_CONFIG_GLOBAL"
export GIT_DIR=$store GIT_WORK_TREE=$LW_WORK GIT_INDEX_FILE=/tmp/legwork-index
pristine() { git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.attributesFile=/dev/null \
    -c core.autocrlf=false -c core.fileMode=true -c core.symlinks=true -c gc.auto=0 "$@"; }
cd "$LW_WORK"
cp -p "$store/legwork-index" "$GIT_INDEX_FILE"
pristine apply --cached --whitespace=nowarn "$LW_PATCH"
tree=$(pristine write-tree)
[ "$tree" = "$LW_TREE" ] || { echo "the patch gives tree $tree, not $LW_TREE" >&2; exit 31; }
pristine diff-tree -r -z --name-only --no-renames "$LW_BASE_TREE" "$tree" | xargs -0 -r rm -rf --
pristine diff-tree -r -z --name-only --no-renames --diff-filter=d "$LW_BASE_TREE" "$tree" \
    | pristine checkout-index -f -z --stdin
rm -f "$GIT_INDEX_FILE" "$GIT_CONFIG_GLOBAL"
