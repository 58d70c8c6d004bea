# The same as the patch, with the contents of binary files as they are. Runs where the patch was computed, after it.
set -eu
export GIT_DIR=$LW_STORE
exec git -c core.hooksPath=/dev/null -c core.attributesFile=/dev/null -c core.quotePath=true diff-tree -r -p --text --full-index \
    --no-renames --no-ext-diff --no-textconv --no-color --submodule=short --src-prefix=a/ --dst-prefix=b/ "$LW_BASE_TREE" "$LW_TREE"
