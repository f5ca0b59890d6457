output "groups" {
  description = "Auto Scaling group of each broker, by node id."
  value       = { for id, g in aws_autoscaling_group.this : id => g.name }
}

output "role_arn" {
  description = "Role of the brokers."
  value       = aws_iam_role.this.arn
}
