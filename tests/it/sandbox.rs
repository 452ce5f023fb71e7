//! The sandbox, its page, and the client of Mini Programs.

mod access;
mod controls;
mod limits;
mod miniprogram;
mod next;
mod page;
mod requests;
mod sdks;
mod sessions;
mod start;
