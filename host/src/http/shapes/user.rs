//! A user, as seen by that user and by administrators.

use serde_json::{Value, json};

use super::nice_size;
use crate::http::App;
use crate::store::users::User;

/// The whole shape; `disk_usage` in bytes.
pub fn user(app: &App, user: &User, disk_usage: i64) -> Value {
    json!({
        "model_class": "User",
        "id": app.encode(user.id),
        "username": user.username,
        "email": user.email,
        "deleted": user.deleted,
        "purged": user.purged,
        "active": true,
        "is_admin": user.is_admin,
        "last_password_change": null,
        "total_disk_usage": disk_usage as f64,
        "nice_total_disk_usage": nice_size(disk_usage),
        "quota": null,
        "quota_percent": null,
        "quota_bytes": null,
        "preferences": {},
        "preferred_object_store_id": null,
        "tags_used": [],
        "create_time": crate::http::time::iso(user.create_time),
        "update_time": crate::http::time::iso(user.update_time),
    })
}
