//! PostgreSQL by TLS: with the certificates that the harness makes where `openssl` is there.

use std::path::Path;
use std::process::Command;

use barycenter_tests::server::clean;
use barycenter_tests::{Database, build, left_out};

const VARIABLE: &str = "BARYCENTER_TEST_POSTGRES_TLS";

/// Another address for a database: `postgres://USER:PASSWORD@HOST:PORT/` and the certificate to trust.
struct Door {
    server: String,
    authority: String,
}

impl Door {
    /// None, with a note, where the tests' PostgreSQL speaks no TLS.
    fn given() -> Option<Door> {
        let Ok(url) = std::env::var(VARIABLE) else {
            left_out::note(
                "PostgreSQL by TLS: install openssl, and run the tests by `cargo xtask test`",
            );
            return None;
        };
        let (address, query) = url.split_once('?').expect("a URL with parameters");
        let (server, _) = address.rsplit_once('/').expect("a URL with a database");
        let (_, authority) = query.split_once("sslrootcert=").expect("whom to trust");
        Some(Door {
            server: server.to_owned(),
            authority: authority.to_owned(),
        })
    }

    /// `barycenter db status` on `database` through here: whether it worked, and what it said.
    fn status(&self, database: &Database, host: &str, parameters: &str) -> (bool, String) {
        let (address, _) = database.url.split_once('?').expect("a URL with parameters");
        let (_, name) = address.rsplit_once('/').expect("a URL with a database");
        let server = self.server.replace("@localhost:", &format!("@{host}:"));
        let mut command = Command::new(build::binary());
        let url = format!("{server}/{name}?{parameters}");
        command.args(["db", "status", "--database-url", &url]);
        let output = clean(&mut command).output().expect("the program runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    fn password(&self) -> &str {
        let (_, rest) = self.server.rsplit_once("://").expect("a URL");
        let (user, _) = rest.rsplit_once('@').expect("a user");
        user.rsplit_once(':').expect("a password").1
    }
}

#[test]
fn a_server_that_is_trusted_is_connected_to_and_no_other() {
    let Some(door) = Door::given() else { return };
    let database = Database::postgres();
    let right = &door.authority;
    let wrong = Path::new(right).with_file_name("other.crt");
    let wrong = wrong.display();
    for (host, parameters) in [
        ("localhost", "sslmode=require".to_owned()),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={right}"),
        ),
        // The certificate is for `localhost`.
        (
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={right}"),
        ),
    ] {
        let (worked, said) = door.status(&database, host, &parameters);
        assert!(worked, "{parameters}: {said}");
    }
    for (host, parameters, why) in [
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={wrong}"),
            "UnknownIssuer",
        ),
        (
            "localhost",
            "sslmode=verify-full".to_owned(),
            "UnknownIssuer",
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={right}"),
            "not valid for name",
        ),
    ] {
        let (worked, said) = door.status(&database, host, &parameters);
        assert!(!worked, "{parameters}: {said}");
        assert!(said.contains(why), "{parameters}: {said}");
        assert!(said.contains("`sslrootcert=FILE`"), "{parameters}: {said}");
        assert!(!said.contains(door.password()), "{said}");
    }
}
