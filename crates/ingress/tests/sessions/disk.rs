//! What clients hear when the disk is full or fails, and that nothing they were promised is lost.

use std::io;
use std::sync::Arc;

use testkit::disk::FaultyDisk;
use tokio::net::TcpStream;

use super::common::{Client, World, open_config, start_on};

/// More calls than any test makes.
const FOR_LONG: u64 = 1 << 32;

/// One message with this much content; the last reply.
async fn offer(client: &mut Client<TcpStream>, content: &str) -> String {
    let mail = client.ask("MAIL FROM:<s@src.test>", "").await;
    if !mail.starts_with("250") {
        return mail;
    }
    client.ask("RCPT TO:<u@dst.test>", "250 ").await;
    client.ask("DATA", "354 ").await;
    client.ask(&format!("{content}\r\n."), "").await
}

/// Offers messages until one is not taken; how many were, and the refusal.
async fn offer_until_refused(world: &mut World, content: &str) -> (usize, String) {
    let mut client = world.client().await;
    let mut taken = 0;
    loop {
        let reply = offer(&mut client, content).await;
        if !reply.starts_with("250 ") {
            return (taken, reply);
        }
        world.next_accepted().await;
        taken += 1;
    }
}

/// Offers messages until one is taken.
async fn offer_until_taken(world: &mut World, content: &str) {
    let mut client = world.client().await;
    while !offer(&mut client, content).await.starts_with("250 ") {}
    world.next_accepted().await;
}

#[tokio::test]
async fn a_full_disk_puts_clients_off_and_space_brings_them_back() {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(40 << 20));
    let mut world = start_on(Arc::new(disk.clone()), open_config(), 64 << 20);
    for size in [100_000, 1_000_000] {
        let content = "0123456789\r\n".repeat(size / 12);
        let (taken, refusal) = offer_until_refused(&mut world, &content).await;
        assert!(refusal.starts_with("452 4.3.1"), "{refusal}");
        assert!(taken > 0 || size > 100_000);
        assert!(world.accepted.try_recv().is_err(), "nothing but what was promised reaches the engine");
        disk.set_capacity(Some(disk.used() + (20 << 20)));
        offer_until_taken(&mut world, "small").await;
    }
    assert_eq!(world.memory.left(), 64 << 20);
}

#[tokio::test]
async fn a_failing_disk_is_a_temporary_failure() {
    let disk = FaultyDisk::new();
    let mut world = start_on(Arc::new(disk.clone()), open_config(), 64 << 20);
    offer_until_taken(&mut world, "small").await;
    disk.fail_calls(disk.calls()..FOR_LONG, io::ErrorKind::Other);
    let (_, refusal) = offer_until_refused(&mut world, "small").await;
    assert!(refusal.starts_with("451 4.3.0 "), "{refusal}");
    // Clients that came while it failed were told at MAIL that it was full.
    let refusal = loop {
        let mail = world.client().await.ask("MAIL FROM:<s@src.test>", "").await;
        if !mail.starts_with("250 ") {
            break mail;
        }
    };
    assert!(refusal.starts_with("451 4.3.0 "), "{refusal}");
    assert!(world.accepted.try_recv().is_err());
    disk.fail_calls(0..0, io::ErrorKind::Other);
    offer_until_taken(&mut world, "small").await;
}
