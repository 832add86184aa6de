"""The bridge: mirrors the log into PostgreSQL, tells who was lost, purges what is safe, and shows how it is doing.

Layers, from the bottom; imports point up the list only.

settings, metrics, health   what it is told, what it counts, how it is
frames                      NATS frames of one subscription, straight from the socket
subject_parts, copy_format  a message as a row of the table ``log`` (pure)
database, schema, partitions, leadership    PostgreSQL: connecting, migrations, weeks, the one active bridge
reader, continuity, writer  the log from a place on; whether it is still the same log; one transaction a batch
mirror                      the loop of these three
progress, lost_events         how far the mirror is, and what two of the duties write
lost_tasks, lost_agents, beats, retention, revisions    the duties of the active bridge, one a module
listener, service, main     /healthz and /metrics, the life of the process, its environment
"""
