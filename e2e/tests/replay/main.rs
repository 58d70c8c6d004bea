//! Real fixes of real packages, replayed: a scripted model plays the difference between two releases through our own
//! tools, and the run must end with that patch and the verdict *fixed*.
//!
//! Everything comes from package registries by their own clients and is kept under the target directory. A toolchain
//! that is absent skips its cases loudly; so does a registry that cannot be reached, unless `CI=true`, where it fails.

mod case;
mod change;
mod legwork;
mod outcome;
mod play;
mod process;
mod registry;
mod request_types;
mod schemathesis;
mod script;
mod tree;

/// One test a case, so that each runs, fails and is named alone.
macro_rules! replays {
    ($($test:ident: $id:literal),+ $(,)?) => {
        $(#[test]
        fn $test() -> anyhow::Result<()> {
            play::replay($id)
        })+

        #[test]
        fn every_case_has_its_test() -> anyhow::Result<()> {
            let named = [$($id),+];
            let ids: Vec<String> = case::all()?.into_iter().map(|case| case.id).collect();
            assert_eq!(ids, named);
            Ok(())
        }
    };
}

replays! {
    flask: "registry-flask-3.1.0-3.1.1",
    jinja2: "registry-jinja2-3.1.5-3.1.6",
    itsdangerous: "registry-itsdangerous-2.1.0-2.1.1",
    sqlparse: "registry-sqlparse-0.5.0-0.5.1",
    minimist: "registry-minimist-1.2.5-1.2.6",
    shell_quote: "registry-shell-quote-1.8.0-1.8.1",
    qs: "registry-qs-6.9.6-6.9.7",
    xmlparser: "registry-xmlparser-0.13.2-0.13.3",
    pico_args: "registry-pico-args-0.4.1-0.4.2",
    roxmltree: "registry-roxmltree-0.18.0-0.18.1",
}
