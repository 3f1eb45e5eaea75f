//! One child: who owns it, and server-side apply.
