"""The protocol and the rules; no terminal, no stores.

names       what a project, agent, task id or memory key may look like
subjects    every subject, stream, bucket and header
topology    the streams and buckets, their creation and their drift
bodies      what stands in a message, a task record, a lease
tasks       the task state machine and the dependency graph, as pure code
errors      the error tree, with the exit code each error means
settings    who we are and where the bus is
bus         the few verbs that everything is made of: publish, compare-and-set, leader read, list, watch
"""
