output "bootstrap" {
  description = "What clients are given as bootstrap.servers."
  value       = module.forebay.bootstrap
}

output "client_security_group" {
  description = "The group that machines of clients need."
  value       = aws_security_group.clients.id
}

output "api_url" {
  description = "URL of the admin API."
  value       = module.forebay.api_url
}

output "api_caller_policy" {
  description = "IAM policy of those who call the admin API."
  value       = module.forebay.api_caller_policy
}

output "doctor" {
  description = "A command that looks whether all is well."
  value = join(" ", concat(
    ["forebay doctor --object-store '${module.forebay.object_store}' --metadata '${module.forebay.metadata}'"],
    [for url in module.forebay.wal_store[*] : "--wal-store '${url}'"],
  ))
}
