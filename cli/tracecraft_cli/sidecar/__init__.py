"""The sidecar of a coding agent's session: one small process that is on the bus for it, from its start to its end.

event          what a hook tells
answer         what a hook prints: context for the model, a refusal, a request to go on
words          how the agent is told who it is, and that others wrote
edits          which files a tool call would change
identity       which name the agent gets
announcements  of which unread mail the model was told
tenure         the claims of the session, kept alive and given back
mirroring      the transcript, mirrored into the run
lifeline       the relay for a sandbox without network
watchdog       the coding agent's process
folder         the files of the sidecars: the socket's path, the lock, what old sessions left
door           the socket that the hooks knock at
member         the session's place on the bus: all of these, while it is connected
sidecar        the process: from the first event to the end of the session
"""
