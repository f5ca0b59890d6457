output "prefix" {
  description = "What the names of the tables begin with, once there are both."
  value       = var.prefix

  depends_on = [aws_dynamodb_table.this]
}

output "names" {
  description = "Names of the tables, by control and offsets."
  value       = { for t, table in aws_dynamodb_table.this : t => table.name }
}

output "arns" {
  description = "ARNs of the tables, by control and offsets."
  value       = { for t, table in aws_dynamodb_table.this : t => table.arn }
}
