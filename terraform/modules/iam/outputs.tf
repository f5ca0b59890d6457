output "policies" {
  description = "The policy of each job, as JSON: broker, node (a broker that does maintenance and collection itself) and the functions."
  value = {
    for job, statements in local.statements : job => jsonencode({
      Version   = "2012-10-17"
      Statement = [for s in statements : merge({ Effect = "Allow" }, s)]
    })
  }
}
