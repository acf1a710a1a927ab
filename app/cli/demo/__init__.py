"""`swarmhold demo`: a swarm that does real work while its server is killed, and whose results are checked."""
