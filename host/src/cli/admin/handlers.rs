//! `barycenter admin handlers` and `admin reassign`: who shares the database, and moving work by hand.

use clap::Args;
use serde_json::{Value, json};

use super::{open, told};
use crate::cli::options::Common;
use crate::cli::out;
use crate::http::time::iso;
use crate::model::handler::check_name;
use crate::server::lock;
use crate::store::handlers::{self, Holding, Worker};

#[derive(Debug, Args)]
pub struct Reassign {
    /// The server, or the tag, that has the work now
    from: String,
    /// The server, or the tag, that is to have it
    to: String,
    /// Also where FROM is alive (it gives the work up at its next commit), and where no server or tag TO is known
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// Lists every server that the database knows, and what each and every tag holds.
pub async fn list(common: &Common) -> Result<(), String> {
    let store = open(common).await?;
    let now = store.shared_now_ms().await.map_err(told)?;
    let is_at_work = match store.is_shared() {
        true => None,
        false => Some(lock::is_held(&common.config()?.data_dir)),
    };
    let mut reader = store.reader();
    let workers = handlers::list(&mut reader).await.map_err(told)?;
    let mut holdings = handlers::holdings(&mut reader).await.map_err(told)?;
    let mut shown: Vec<Value> = workers
        .iter()
        .map(|worker| {
            let held = holdings.remove(&worker.peer.name).unwrap_or_default();
            server(worker, held, now, is_at_work)
        })
        .collect();
    let mut others: Vec<_> = holdings.into_iter().collect();
    others.sort_by(|a, b| a.0.cmp(&b.0));
    shown.extend(
        others
            .iter()
            .map(|(name, held)| json!({"name": name, "state": "tag", "invocations": held.invocations, "jobs": held.jobs})),
    );
    store.db.close().await;
    if common.json {
        out::lines(shown);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
    out::table(
        &["NAME", "STATE", "ROLES", "INVOCATIONS", "JOBS", "HOST"],
        &rows,
    );
    Ok(())
}

fn row(one: &Value) -> Vec<String> {
    ["name", "state", "roles", "invocations", "jobs", "hostname"]
        .iter()
        .map(|key| match &one[*key] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            number => number.to_string(),
        })
        .collect()
}

/// `is_at_work`: of the one server of a database that is a file, which keeps no lease, whether it has its directory.
fn server(worker: &Worker, held: Holding, now: i64, is_at_work: Option<bool>) -> Value {
    let state = match (worker.is_live(), is_at_work) {
        (true, Some(false)) => "stopped",
        // One that died is declared lost by another; where there is none, its lease tells.
        (true, None) if worker.lease_until <= now => "silent",
        _ => worker.state.as_str(),
    };
    let lease = is_at_work.is_none().then(|| iso(worker.lease_until));
    json!({
        "name": worker.peer.name,
        "state": state,
        "roles": worker.peer.roles.to_string(),
        "tags": worker.peer.tags,
        "hostname": worker.hostname,
        "pid": worker.pid,
        "version": worker.version,
        "started": iso(worker.create_time),
        "lease_until": lease,
        "invocations": held.invocations,
        "jobs": held.jobs,
    })
}

/// Moves what has not ended from one name to another.
pub async fn reassign(wanted: &Reassign) -> Result<(), String> {
    let (from, to) = (wanted.from.as_str(), wanted.to.as_str());
    for name in [from, to] {
        check_name(name.trim_start_matches('_'))
            .map_err(|rule| format!("{name:?} is no name of a server or tag. {rule}"))?;
    }
    if from == to {
        return Err("the work is there already: FROM and TO are the same".to_owned());
    }
    let store = open(&wanted.common).await?;
    let workers = handlers::list(&mut store.reader()).await.map_err(told)?;
    let now = store.shared_now_ms().await.map_err(told)?;
    let live = |name: &str| {
        let worker = workers.iter().find(|worker| worker.peer.name == name);
        worker.is_some_and(|worker| worker.is_live() && worker.lease_until > now)
    };
    let known = |name: &str| {
        workers.iter().any(|worker| {
            worker.peer.name == name || worker.peer.tags.iter().any(|tag| tag == name)
        })
    };
    if !wanted.force && store.is_shared() && live(from) {
        return Err(format!(
            "the server {from} is alive; stop it, which hands its work over, or add --force"
        ));
    }
    let holdings = handlers::holdings(&mut store.reader())
        .await
        .map_err(told)?;
    if !wanted.force && !known(from) && !holdings.contains_key(from) {
        return Err(format!(
            "no server and no tag is known as {from}, and nothing is held under that name; see `barycenter admin handlers`"
        ));
    }
    if !wanted.force && !known(to) {
        return Err(format!(
            "no server and no tag is known as {to}; see `barycenter admin handlers`, or add --force"
        ));
    }
    let moved = handlers::reassign(&store, from, to).await.map_err(told)?;
    store.db.close().await;
    match wanted.common.json {
        true => out::line(json!({"invocations": moved.invocations, "jobs": moved.jobs})),
        false => out::line(format_args!(
            "{} invocations and {} jobs are {to}'s now",
            moved.invocations, moved.jobs
        )),
    }
    Ok(())
}
