//! Stacks, by the files that real projects of them have.

use crate::{found, told};

const CARGO: &str = "[package]\nname = 'a'\nrust-version = '1.80'\n";

#[test]
fn rust() {
    insta::assert_snapshot!(told(&found(&[
        ("Cargo.toml", "[workspace]\nmembers = ['crates/*']\n[package]\nname='x'\n"),
        ("Cargo.lock", ""),
        ("crates/a/Cargo.toml", CARGO),
        ("rust-toolchain.toml", "[toolchain]\nchannel = '1.85'\n"),
    ])));
}

#[test]
fn python_with_extras() {
    insta::assert_snapshot!(told(&found(&[
        (
            "pyproject.toml",
            "[build-system]\nrequires=['hatchling']\n[project]\nname='x'\nrequires-python='>=3.8,<3.12'\n[project.optional-dependencies]\ndev=['ruff']\ntest=['pytest']\ndocs=['sphinx']\n[tool.pytest.ini_options]\naddopts='--cov=x'\n"
        ),
        ("tests/test_x.py", ""),
    ])));
}

#[test]
fn python_by_setup_py_and_tox() {
    insta::assert_snapshot!(told(&found(&[
        ("setup.py", "from setuptools import setup\nsetup(name='x')\n"),
        (
            "tox.ini",
            "[tox]\nenvlist = py38\n[testenv]\ndeps =\n    pytest\n    py27: mock\n    hypothesis>=6\n    -r tests/req.txt\n    {[base]deps}\ncommands = pytest {posargs}\n"
        ),
        ("tests/req.txt", "x"),
    ])));
}

#[test]
fn python_by_uv_and_by_poetry() {
    insta::assert_snapshot!(told(&found(&[
        ("pyproject.toml", "[project]\nname='x'\n[dependency-groups]\ntest=['pytest']\n"),
        ("uv.lock", ""),
        ("tests/test_x.py", ""),
        (
            "service/pyproject.toml",
            "[tool.poetry]\nname='y'\n[tool.poetry.dependencies]\npython='^3.9'\n[tool.poetry.group.test.dependencies]\npytest='*'\n"
        ),
    ])));
    insta::assert_snapshot!(told(&found(&[
        (
            "pyproject.toml",
            "[tool.poetry]\nname='y'\n[tool.poetry.dependencies]\npython='^3.9'\n[tool.poetry.group.test.dependencies]\npytest='*'\n"
        ),
        ("poetry.lock", ""),
        ("tests/test_x.py", ""),
    ])));
}

#[test]
fn node_by_each_installer() {
    let manifest = |more: &str| {
        format!(r#"{{"scripts": {{"test": "vitest run"}}, "devDependencies": {{"vitest": "1"}}{more}}}"#)
    };
    let mut all = String::new();
    for (files, more) in [
        (&["package-lock.json"][..], r#", "engines": {"node": ">=18"}"#),
        (&["yarn.lock"], ""),
        (&["yarn.lock", ".yarnrc.yml"], r#", "packageManager": "yarn@4.1.0+sha256.abc""#),
        (&["pnpm-lock.yaml", "pnpm-workspace.yaml"], r#", "packageManager": "pnpm@9.0.0""#),
        (&["bun.lock"], ""),
        (&[".nvmrc"], ""),
    ] {
        let manifest = manifest(more);
        let mut listed = vec![("package.json", manifest.as_str())];
        listed.extend(files.iter().map(|file| (*file, "v20.11\n")));
        all.push_str(&told(&found(&listed)));
    }
    insta::assert_snapshot!(all);
    assert!(found(&[("package.json", r#"{"private": true}"#)]).is_empty());
}

#[test]
fn go_java_ruby_php_and_dotnet() {
    let mut all = String::new();
    for files in [
        &[("go.mod", "module x\n\ngo 1.22\n\ntoolchain go1.22.3\n")][..],
        &[
            (
                "pom.xml",
                "<project><properties><maven.compiler.release>17</maven.compiler.release></properties></project>",
            ),
            ("mvnw", ""),
        ],
        &[
            ("build.gradle.kts", "plugins { java }"),
            ("settings.gradle.kts", ""),
            ("gradlew", ""),
            (".sdkmanrc", "java=21.0.2-tem\n"),
        ],
        &[
            ("Gemfile", "gemspec"),
            ("x.gemspec", ""),
            ("Rakefile", "RSpec::Core::RakeTask.new(:spec)"),
            (".ruby-version", "ruby-3.3.0\n"),
            ("spec/x_spec.rb", ""),
        ],
        &[
            ("composer.json", r#"{"require": {"php": ">=8.1"}, "require-dev": {"phpunit/phpunit": "^10"}}"#),
            ("phpunit.xml.dist", ""),
        ],
        &[("x.sln", ""), ("src/x.csproj", ""), ("global.json", r#"{"sdk": {"version": "8.0.100"}}"#)],
    ] {
        all.push_str(&told(&found(files)));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn c_and_others() {
    let mut all = String::new();
    for files in [
        &[("CMakeLists.txt", "project(x)\noption(X_BUILD_TESTS \"\" OFF)\n"), ("Makefile", "test:\n")][..],
        &[("meson.build", "project('x', 'c')")],
        &[("configure.ac", "AC_INIT"), ("autogen.sh", "")],
        &[("Makefile", "all: x\n\ntest check: all\n\t./t\n"), ("x.c", "")],
        &[("Makefile.PL", "use ExtUtils::MakeMaker"), ("t/a.t", "")],
        &[("mix.exs", "")],
        &[("x.cabal", "")],
    ] {
        all.push_str(&told(&found(files)));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_monorepo_with_several_stacks() {
    insta::assert_snapshot!(told(&found(&[
        ("backend/pyproject.toml", "[project]\nname='b'\n"),
        ("backend/tests/test_b.py", ""),
        ("front end/package.json", r#"{"scripts": {"test": "jest"}, "devDependencies": {"jest": "1"}}"#),
        ("front end/packages/a/package.json", r#"{"scripts": {"test": "jest"}}"#),
        ("docs/package.json", r#"{"scripts": {"test": "x"}}"#),
        (".tool-versions", "python 3.12.1\nnodejs 20.1.0\n# x\n"),
    ])));
}
