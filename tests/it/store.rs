//! The stores: sessions and keys in memory, in files and in Redis.

mod crashes;
mod damage;
mod directory;
mod disk_errors;
mod encryption;
mod endings;
mod full_disk;
mod promises;
mod redis_kinds;
mod redis_moves;
mod replicas;
mod sqlite;
