//! Whom an entry is about.

use protocol::digest::{AppId, ComposeHash, InstanceId, OsImageHash, PlatformId};
use serde::{Deserialize, Serialize};

/// A guest, as its evidence proved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// The app.
    pub app_id: AppId,
    /// The instance; `None` for an app without instance ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The measured file.
    pub compose_hash: ComposeHash,
    /// The image.
    pub os_image_hash: OsImageHash,
    /// The platform.
    pub platform_id: PlatformId,
}
