//! `/metrics`: numbers for Prometheus. Reading them costs nothing that grows with what is stored.

mod process;
mod requests;
mod text;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use requests::{RequestCounts, count_request};

use self::text::{Exposition, Sort};
use super::app::{App, MetricsFor};
use super::auth::Caller;
use super::error::ApiError;
use crate::meter;
use crate::plugins::{BUCKET_BOUNDS_US, FAULTS, PluginView, STATES};
use crate::store::invocations::active_count;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// The version of the format that Prometheus negotiates.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Numbers for Prometheus, in its text format. Who may read them without an administrator's key is decided by the option
/// `metrics`.
#[utoipa::path(get, path = "/metrics", tag = "configuration", security((), ("x-api-key" = [])),
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")))]
async fn metrics(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let is_open = match app.settings.metrics {
        MetricsFor::Public => true,
        MetricsFor::Admin => false,
        MetricsFor::Loopback => is_local(&request),
    };
    if !is_open {
        caller.require_admin()?;
    }
    let active = active_invocations(&app).await;
    let views = app.seams().plugins.clone().map(|lifecycle| {
        let retired = lifecycle.retired_images() as u64;
        (lifecycle.view_known(), retired)
    });
    let (views, retired) = views.unwrap_or_default();
    let mut out = Exposition::default();
    plugins(&mut out, &views);
    out.single(
        "barycenter_plugin_retired_images",
        Sort::Gauge,
        "Images of replaced plugin libraries that stay in the server's memory.",
        retired,
    );
    scheduling(&mut out, &app, active);
    database(&mut out, &app);
    http(&mut out, &app);
    machine(&mut out);
    Ok(([(CONTENT_TYPE, FORMAT)], out.finish()).into_response())
}

/// From a program on this machine, and not through a proxy on it.
fn is_local(request: &Request) -> bool {
    const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let is_forwarded = FORWARDED
        .iter()
        .any(|name| request.headers().contains_key(*name));
    let loopback = |address: IpAddr| address.to_canonical().is_loopback();
    !is_forwarded && peer.is_some_and(|ConnectInfo(peer)| loopback(peer.ip()))
}

/// Counted at most so often, whoever asks.
const COUNT_EVERY: Duration = Duration::from_secs(5);

async fn active_invocations(app: &App) -> Option<i64> {
    static LAST: Mutex<Option<(Instant, i64)>> = Mutex::new(None);
    let last = *LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, count)) = last
        && at.elapsed() < COUNT_EVERY
    {
        return Some(count);
    }
    // A database that does not answer must not hold up who watches it.
    let counted = async { active_count(&mut app.store.reader()).await };
    let count = tokio::time::timeout(Duration::from_secs(2), counted).await;
    let count = count.ok()?.ok()?;
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), count));
    Some(count)
}

fn plugins(out: &mut Exposition, views: &[PluginView]) {
    let calls = "barycenter_plugin_calls_total";
    out.family(
        calls,
        Sort::Counter,
        "Calls of plugins that came back or were given up.",
    );
    each_method(views, |labels, method| {
        out.sample(calls, labels, method.calls)
    });
    let faults = "barycenter_plugin_call_faults_total";
    out.family(
        faults,
        Sort::Counter,
        "Calls of plugins that went wrong, by what went wrong.",
    );
    for view in views {
        for method in &view.methods {
            for (kind, count) in FAULTS.iter().zip(method.faults) {
                let labels = [
                    ("kind", view.kind.name()),
                    ("plugin", view.id.as_str()),
                    ("method", method.method),
                    ("fault", *kind),
                ];
                out.sample(faults, &labels, count);
            }
        }
    }
    let durations = "barycenter_plugin_call_duration_seconds";
    out.family(
        durations,
        Sort::Histogram,
        "How long calls of plugins took, each of them.",
    );
    each_method(views, |labels, method| {
        let seconds = method.total.as_secs_f64();
        out.histogram(
            durations,
            labels,
            &BUCKET_BOUNDS_US,
            &method.buckets,
            seconds,
        );
    });
    let state = "barycenter_plugin_state";
    out.family(state, Sort::Gauge, "1 for the state that a plugin is in.");
    for view in views {
        for word in STATES {
            let labels = [
                ("kind", view.kind.name()),
                ("plugin", view.id.as_str()),
                ("state", word),
            ];
            out.sample(state, &labels, u64::from(view.state == word));
        }
    }
    type Reading = fn(&PluginView) -> u64;
    let counters: [(&str, Sort, &str, Reading); 8] = [
        (
            "barycenter_plugin_restarts_total",
            Sort::Counter,
            "Starts of a plugin after its first.",
            |view| {
                view.supervision
                    .as_ref()
                    .map_or(0, |status| status.restarts)
            },
        ),
        (
            "barycenter_plugin_losses_total",
            Sort::Counter,
            "Processes of a plugin that were lost.",
            |view| view.supervision.as_ref().map_or(0, |status| status.losses),
        ),
        (
            "barycenter_plugin_quarantines_total",
            Sort::Counter,
            "Times a plugin was left alone.",
            |view| {
                view.supervision
                    .as_ref()
                    .map_or(0, |status| status.quarantines)
            },
        ),
        (
            "barycenter_plugin_hung_threads",
            Sort::Gauge,
            "Threads of the server that hang in a plugin.",
            |view| {
                view.supervision
                    .as_ref()
                    .map_or(0, |status| status.threads_written_off)
            },
        ),
        (
            "barycenter_plugin_reloads_total",
            Sort::Counter,
            "Reloads of a plugin.",
            |view| view.reloads,
        ),
        (
            "barycenter_plugin_reloads_refused_total",
            Sort::Counter,
            "Reloads that were refused.",
            |view| view.reloads_refused,
        ),
        (
            "barycenter_plugin_rollbacks_total",
            Sort::Counter,
            "Reloads that were taken back.",
            |view| view.rollbacks,
        ),
        (
            "barycenter_plugin_draining",
            Sort::Gauge,
            "Replaced instances that still end their calls.",
            |view| view.draining,
        ),
    ];
    for (name, sort, help, reading) in counters {
        out.family(name, sort, help);
        for view in views {
            let labels = [("kind", view.kind.name()), ("plugin", view.id.as_str())];
            out.sample(name, &labels, reading(view));
        }
    }
}

fn each_method(
    views: &[PluginView],
    mut write: impl FnMut(text::Labels<'_>, &crate::plugins::MethodStats),
) {
    for view in views {
        for method in &view.methods {
            let labels = [
                ("kind", view.kind.name()),
                ("plugin", view.id.as_str()),
                ("method", method.method),
            ];
            write(&labels, method);
        }
    }
}

fn scheduling(out: &mut Exposition, app: &App, active: Option<i64>) {
    let load = &app.seams().load;
    out.single(
        "barycenter_invocations_created_total",
        Sort::Counter,
        "Invocations that this process made, inner ones included.",
        meter::INVOCATIONS_CREATED.get(),
    );
    let ended = "barycenter_invocations_ended_total";
    out.family(
        ended,
        Sort::Counter,
        "Invocations that this process scheduled to their end, or gave up.",
    );
    for (how, counter) in [
        ("scheduled", &meter::INVOCATIONS_SCHEDULED),
        ("failed", &meter::INVOCATIONS_FAILED),
        ("cancelled", &meter::INVOCATIONS_CANCELLED),
    ] {
        out.sample(ended, &[("how", how)], counter.get());
    }
    if let Some(active) = active {
        out.single(
            "barycenter_invocations_active",
            Sort::Gauge,
            "Invocations in the database that are being scheduled, a few seconds old.",
            active,
        );
    }
    out.single(
        "barycenter_iterations_total",
        Sort::Counter,
        "Iterations of invocations that were stored.",
        meter::ITERATIONS.get(),
    );
    out.single(
        "barycenter_jobs_started_total",
        Sort::Counter,
        "Jobs handed over to runners.",
        meter::JOBS_STARTED.get(),
    );
    let ended = "barycenter_jobs_ended_total";
    out.family(ended, Sort::Counter, "Ends of jobs that were stored.");
    for (how, counter) in [("ok", &meter::JOBS_OK), ("not_ok", &meter::JOBS_NOT_OK)] {
        out.sample(ended, &[("how", how)], counter.get());
    }
    out.single(
        "barycenter_jobs_running",
        Sort::Gauge,
        "Jobs that the runners of this process have.",
        load.running_jobs(),
    );
    out.single(
        "barycenter_jobs_ready",
        Sort::Gauge,
        "Ready jobs that no runner has, as far as this process has read them.",
        meter::JOBS_READY.get(),
    );
    let slots = "barycenter_runner_slots";
    out.family(slots, Sort::Gauge, "Slots of the runners of this process.");
    let (total, free) = load.slots();
    out.sample(slots, &[("state", "free")], free);
    out.sample(slots, &[("state", "used")], total.saturating_sub(free));
    let renewed = meter::LEASE_RENEWED_MS.get();
    if renewed > 0 {
        out.single(
            "barycenter_handler_lease_age_seconds",
            Sort::Gauge,
            "How long ago this process renewed its lease.",
            (app.now_ms() - renewed).max(0) as f64 / 1e3,
        );
    }
}

fn database(out: &mut Exposition, app: &App) {
    out.single(
        "barycenter_database_statements_total",
        Sort::Counter,
        "Statements that this process sent to the database.",
        app.store.db.statements(),
    );
    out.single(
        "barycenter_database_commits_total",
        Sort::Counter,
        "Transactions that this process committed.",
        meter::COMMITS.get(),
    );
    let connections = "barycenter_database_connections";
    out.family(
        connections,
        Sort::Gauge,
        "Open connections to the database.",
    );
    for (purpose, size, idle) in app.store.db.connections() {
        let busy = size.saturating_sub(idle);
        out.sample(
            connections,
            &[("purpose", purpose), ("state", "idle")],
            idle,
        );
        out.sample(
            connections,
            &[("purpose", purpose), ("state", "busy")],
            busy,
        );
    }
}

fn http(out: &mut Exposition, app: &App) {
    let counts = app.requests.read();
    let name = "barycenter_http_requests_total";
    out.family(name, Sort::Counter, "Requests that were answered.");
    let mut sorts: Vec<_> = counts.by_sort.iter().collect();
    sorts.sort();
    for ((method, route, status), count) in sorts {
        let status = status.to_string();
        let labels = [
            ("method", *method),
            ("route", route.as_str()),
            ("status", status.as_str()),
        ];
        out.sample(name, &labels, count);
    }
    let name = "barycenter_http_request_duration_seconds";
    out.family(
        name,
        Sort::Histogram,
        "How long requests took until the head of their answer.",
    );
    let seconds = counts.total.as_secs_f64();
    out.histogram(name, &[], &requests::BOUNDS_US, &counts.buckets, seconds);
}

fn machine(out: &mut Exposition) {
    out.family(
        "barycenter_build_info",
        Sort::Gauge,
        "The version of the server.",
    );
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    out.sample("barycenter_build_info", &version, 1);
    let Some(usage) = process::usage() else {
        return;
    };
    out.single(
        "process_resident_memory_bytes",
        Sort::Gauge,
        "Resident memory size in bytes.",
        usage.resident_bytes,
    );
    out.single(
        "process_open_fds",
        Sort::Gauge,
        "Open file descriptors.",
        usage.open_files,
    );
    out.single("process_threads", Sort::Gauge, "Threads.", usage.threads);
    out.single(
        "process_cpu_seconds_total",
        Sort::Counter,
        "User and system CPU time spent in seconds.",
        usage.cpu_ticks as f64 / 100.0,
    );
}
